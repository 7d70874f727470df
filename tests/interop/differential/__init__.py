"""The same bytes to two servers; whatever differs in the answers, apart from ids and times, is a finding."""
