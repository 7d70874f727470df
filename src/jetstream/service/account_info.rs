//! `INFO`: what the account uses of JetStream (J-01, T-76).

use super::Request;
use crate::jetstream::api::ApiError;
use crate::jetstream::api::responses::AccountInfoReply;

impl Request<'_> {
    pub(super) fn account_info(&self) {
        self.respond(self.account_info_reply());
    }

    fn account_info_reply(&self) -> Result<AccountInfoReply, ApiError> {
        self.admit()?;
        // Whatever the body says: clients in the field send `[]`, and the genuine server does not look.
        Ok(AccountInfoReply(Some(self.account.info(self.node))))
    }
}
