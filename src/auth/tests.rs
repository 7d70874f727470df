//! Who is let in, where, and what a reload makes of it.

use super::*;

fn user(name: &str, password: &str, account: &str) -> UserSettings {
    UserSettings {
        identity: UserIdentity::Password { name: name.into(), password: Secret::new(password) },
        account: Some(account.into()),
        ..UserSettings::default()
    }
}

fn check(directory: &Directory, connect: &str) -> Outcome {
    let mut options = ConnectOptions::default();
    options.merge(connect.as_bytes()).unwrap();
    let request =
        Request { options: &options, nonce: b"nonce", connection_type: ConnectionType::Standard, certificate: None };
    directory.check(&request)
}

fn account(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Granted(grant) => Some(grant.account),
        _ => None,
    }
}

#[test]
fn users_of_accounts() {
    let settings = AuthSettings {
        users: vec![user("a", "x", "A"), user("b", "", "B")],
        no_auth_user: Some("b".into()),
        ..AuthSettings::default()
    };
    let directory = Directory::new(&settings).unwrap();
    assert_eq!(account(check(&directory, r#"{"user":"a","pass":"x"}"#)).as_deref(), Some("A"));
    assert_eq!(account(check(&directory, r#"{"user":"a","pass":"y"}"#)), None);
    assert_eq!(account(check(&directory, r#"{"user":"c","pass":"y"}"#)), None);
    assert_eq!(account(check(&directory, "{}")).as_deref(), Some("B"));
    assert_eq!(account(check(&directory, r#"{"auth_token":"x"}"#)), None);
    assert!(directory.is_required() && !directory.is_announced());
}

#[test]
fn those_who_name_nobody_are_let_in_beside_the_system_user() {
    let nkey = r#"{"nkey":"UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"}"#;
    let settings = AuthSettings { users: vec![user("s", "t", "$SYS")], anonymous: true, ..AuthSettings::default() };
    let directory = Directory::new(&settings).unwrap();
    // As nats-server has it: asked for in INFO, and not missed.
    assert!(directory.is_announced() && directory.admits_silent());
    let accounts =
        ["{}", nkey, r#"{"jwt":"x"}"#, r#"{"user":"s","pass":"t"}"#].map(|connect| account(check(&directory, connect)));
    assert_eq!(accounts.each_ref().map(Option::as_deref), [Some("$G"), Some("$G"), Some("$G"), Some("$SYS")]);
    for refused in [r#"{"user":"s"}"#, r#"{"user":"x","pass":"t"}"#, r#"{"pass":"t"}"#, r#"{"auth_token":"t"}"#] {
        assert_eq!(account(check(&directory, refused)), None, "{refused}");
    }
    let nobody = Directory::new(&AuthSettings { anonymous: true, ..AuthSettings::default() }).unwrap();
    assert_eq!(account(check(&nobody, "{}")).as_deref(), Some("$G"));
    assert_eq!(account(check(&nobody, r#"{"user":"x","pass":"t"}"#)), None);
}

#[test]
fn a_reload_keeps_those_who_name_nobody_as_long_as_they_may() {
    let new = |users: Vec<UserSettings>, anonymous| {
        Directory::new(&AuthSettings { users, anonymous, ..AuthSettings::default() }).unwrap()
    };
    let before = new(vec![user("s", "t", "$SYS")], true);
    let changed = new(vec![user("s", "u", "$SYS")], true);
    assert!(changed.recheck(&before, "", ConnectionType::Standard, None).is_some());
    let open = new(Vec::new(), false);
    assert!(before.recheck(&open, "", ConnectionType::Standard, None).is_some());
    assert!(before.recheck(&open, "x", ConnectionType::Standard, None).is_none());
    let closed = new(vec![user("s", "t", "$SYS"), user("a", "b", "A")], false);
    assert!(closed.recheck(&before, "", ConnectionType::Standard, None).is_none());
    assert!(closed.has_lost(&before, ""), "they end without an error");
    assert!(!changed.has_lost(&before, "s") && !closed.has_lost(&open, ""));
}

#[test]
fn token_and_single_user() {
    let token = AuthSettings { token: Some(Secret::new("t")), ..AuthSettings::default() };
    let directory = Directory::new(&token).unwrap();
    assert!(account(check(&directory, r#"{"auth_token":"t"}"#)).is_some());
    assert!(account(check(&directory, r#"{"user":"t","pass":"t"}"#)).is_none());
    let single = AuthSettings { user: Some(("u".into(), Secret::new("p"))), ..AuthSettings::default() };
    let directory = Directory::new(&single).unwrap();
    assert!(account(check(&directory, r#"{"user":"u","pass":"p"}"#)).is_some());
    assert!(account(check(&directory, "{}")).is_none());
}

#[test]
fn a_reload_keeps_those_whose_login_is_still_good() {
    let directory =
        |users: Vec<UserSettings>| Directory::new(&AuthSettings { users, ..AuthSettings::default() }).unwrap();
    let old = directory(vec![user("a", "x", "A"), user("b", "x", "A"), user("c", "x", "A"), user("d", "x", "A")]);
    let new = directory(vec![user("a", "x", "A"), user("b", "y", "A"), user("c", "x", "C")]);
    let stays = |name: &str| new.recheck(&old, name, ConnectionType::Standard, None).is_some();
    assert_eq!(["a", "b", "c", "d", ""].map(stays), [true, false, true, false, false]);
    let moved = new.recheck(&old, "c", ConnectionType::Standard, None).map(|grant| grant.account);
    assert_eq!(moved.as_deref(), Some("C"), "the login is good, for another account");
    let open = Directory::new(&AuthSettings::default()).unwrap();
    assert!(open.recheck(&old, "a", ConnectionType::Standard, None).is_some());
    assert!(old.recheck(&open, "", ConnectionType::Standard, None).is_none());
}

#[test]
fn an_unknown_no_auth_user_and_duplicates_are_refused() {
    let settings = AuthSettings { no_auth_user: Some("x".into()), ..AuthSettings::default() };
    assert!(Directory::new(&settings).is_err());
    let settings = AuthSettings { users: vec![user("a", "", "A"), user("a", "", "B")], ..AuthSettings::default() };
    assert!(Directory::new(&settings).is_err());
}

#[test]
fn a_reload_that_maps_certificates_keeps_those_whose_certificate_names_their_user() {
    let settings = |map_certificates| AuthSettings {
        users: vec![user("bob@acme.com", "x", "A"), user("ann@acme.com", "x", "A"), user("O=org,CN=ann", "x", "A")],
        map_certificates,
        ..AuthSettings::default()
    };
    let (old, new) = [false, true].map(|map| Directory::new(&settings(map)).unwrap()).into();
    let bob = CertificateNames { emails: vec!["bob@acme.com".into()], ..CertificateNames::default() };
    let stays = |name: &str, certificate| new.recheck(&old, name, ConnectionType::Standard, certificate).is_some();
    assert!(stays("bob@acme.com", Some(&bob)));
    assert!(!stays("ann@acme.com", Some(&bob)) && !stays("bob@acme.com", None));
    let subject = DistinguishedName::parse("CN=ann,O=org");
    let ann = CertificateNames { subject, ..CertificateNames::default() };
    assert!(stays("O=org,CN=ann", Some(&ann)) && !stays("O=org,CN=ann", Some(&bob)));
    assert!(old.recheck(&new, "bob@acme.com", ConnectionType::Standard, Some(&bob)).is_some());
    let single =
        |map_certificates| AuthSettings { token: Some(Secret::new("t")), map_certificates, ..AuthSettings::default() };
    let (old, new) = [false, true].map(|map| Directory::new(&single(map)).unwrap()).into();
    assert!(new.recheck(&old, "", ConnectionType::Standard, None).is_some(), "a token is asked for as before");
}
