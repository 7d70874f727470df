//! Subject transforms, against results of the genuine server.

use super::*;

fn transformed(source: &str, destination: &str, subject: &str) -> Option<String> {
    let transform = Transform::new(source, destination).unwrap();
    let mut out = Vec::new();
    transform.apply(subject.as_bytes(), &mut |below| below - 1, &mut out).then(|| String::from_utf8(out).unwrap())
}

#[test]
fn each_function_does_what_it_says() {
    for (source, destination, subject, expected) in [
        ("foo.*.*", "bar.$2.{{wildcard(1)}}", "foo.a.b", "bar.b.a"),
        ("foo.>", "bar.>", "foo.a.b", "bar.a.b"),
        ("", ">", "foo.a.b", "foo.a.b"),
        ("*.*", "x.{{partition(10,1,2)}}", "foo.bar", "x.0"),
        ("foo", "bar", "foo", "bar"),
        ("foo.*", "many", "foo.a", "many"),
        ("*", "{{SplitFromLeft(1,3)}}", "12345", "123.45"),
        ("*", "{{splitfromright(1, 3)}}", "12345", "12.345"),
        ("*", "{{splitfromright(1,9)}}", "12345", "12345"),
        ("*", "{{SliceFromLeft(1,2)}}", "12345", "12.34.5"),
        ("*", "{{SliceFromRight(1,2)}}", "12345", "1.23.45"),
        ("*", "{{split(1,-)}}", "-abc--def-", "abc.def"),
        ("*", "{{left(1,2)}}.{{right(1,2)}}", "12345", "12.45"),
        ("*", "{{random(5)}}", "a", "4"),
        ("*.*", "$0", "a.b", "a"),
        ("*", "$JS.$1", "a", "$JS.a"),
    ] {
        assert_eq!(transformed(source, destination, subject).as_deref(), Some(expected), "{source} {destination}");
    }
    assert_eq!(transformed("foo.*", "bar.$1", "baz.a"), None);
}

#[test]
fn partitions_are_fnv_1a() {
    // The well-known hash of "foobar" is 0xbf9cf968.
    assert_eq!(transformed("*", "{{partition(1000)}}", "foobar"), Some((0xbf9c_f968_u32 % 1000).to_string()));
    assert_eq!(transformed("*.*", "{{partition(1000,1,2)}}", "foo.bar"), Some((0xbf9c_f968_u32 % 1000).to_string()));
}

#[test]
fn faults_are_told_as_the_genuine_server_does() {
    for (source, destination, expected) in [
        ("a.*", "b.*", "invalid subject"),
        ("a.>", "b", "invalid subject"),
        ("a", "b..c", "invalid mapping destination: invalid transform"),
        ("a.*", "{{foo(1)}}", "invalid mapping destination: unknown function in {{foo(1)}}"),
        ("a.*", "$2", "invalid mapping destination: wildcard index out of range in $2: [2]"),
        ("a", "$1", "invalid mapping destination: wildcard index out of range in $1"),
        (
            "a.*",
            "{{wildcard()}}",
            "invalid mapping destination: not enough arguments passed to the function in {{wildcard()}}",
        ),
        (
            "a.*",
            "{{wildcard(1,2)}}",
            "invalid mapping destination: too many arguments passed to the function in {{wildcard(1,2)}}",
        ),
        (
            "a.*",
            "{{wildcard(x)}}",
            "invalid mapping destination: function argument is invalid or in the wrong format in {{wildcard(x)}}",
        ),
    ] {
        assert_eq!(check(source, destination).unwrap_err().to_string(), expected, "{source} {destination}");
    }
    assert_eq!(check("a.*", ""), Ok(()));
    assert_eq!(check("a.*", "{{Partition(3,1)}}"), Ok(()));
    assert!(check("a.*", "{{PARTITION(3,1)}}").is_err());
}

proptest::proptest! {
    #[test]
    fn parsing_and_applying_never_panic(source in "[a*>.$]{0,8}", destination in "[a*>.${}()0-9,split]{0,24}", subject in "[a.]{1,8}") {
        let _ = check(&source, &destination);
        if let Ok(transform) = Transform::new(&source, &destination) {
            transform.apply(subject.as_bytes(), &mut |below| below / 2, &mut Vec::new());
        }
    }
}
