//! Who a client is (S-01..S-06): single user, token, users, nkeys, certificate names and the user for those who
//! name none. A [`Directory`] is built from the settings and never changes; a reload builds another.

mod certificate;
pub mod nkey;
mod password;
#[cfg(test)]
mod tests;

pub use certificate::{CertificateNames, DistinguishedName};
pub use nkey::nonce;
pub use password::verify_bcrypt;

use crate::account::{GLOBAL, InvalidPermission, PermissionRules, Permissions};
use crate::protocol::connect::{ConnectOptions, Secret};
use crate::protocol::error::ClosedReason;
use std::collections::HashMap;
use std::sync::Arc;

/// Everything about authentication that can be configured.
#[derive(Clone, Debug, Default)]
pub struct AuthSettings {
    pub user: Option<(String, Secret)>,
    pub token: Option<Secret>,
    pub users: Vec<UserSettings>,
    pub no_auth_user: Option<String>,
    /// Clients that name nobody are let into the global account, though there are users.
    pub anonymous: bool,
    /// For users that have none of their own.
    pub default_permissions: Option<PermissionRules>,
    /// Certificate names are user names (`verify_and_map`).
    pub map_certificates: bool,
    /// The single user and the token are good only behind a trusted proxy.
    pub proxy_required: bool,
}

#[derive(Clone, Debug, Default)]
pub struct UserSettings {
    pub identity: UserIdentity,
    /// None is the global account.
    pub account: Option<String>,
    pub permissions: Option<PermissionRules>,
    /// Empty allows all.
    pub connection_types: Vec<ConnectionType>,
    pub proxy_required: bool,
}

#[derive(Clone, Debug)]
pub enum UserIdentity {
    Password { name: String, password: Secret },
    Nkey(String),
}

impl Default for UserIdentity {
    fn default() -> UserIdentity {
        UserIdentity::Password { name: String::new(), password: Secret::default() }
    }
}

/// Ways to connect that a user can be restricted to (S-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionType {
    Standard,
    WebSocket,
    Leaf,
    LeafWebSocket,
    Mqtt,
    MqttWebSocket,
    InProcess,
}

impl ConnectionType {
    /// By its name in configuration and JWT; case does not matter.
    pub fn parse(name: &str) -> Option<ConnectionType> {
        Some(match name.to_ascii_uppercase().as_str() {
            "STANDARD" => ConnectionType::Standard,
            "WEBSOCKET" => ConnectionType::WebSocket,
            "LEAFNODE" => ConnectionType::Leaf,
            "LEAFNODE_WS" => ConnectionType::LeafWebSocket,
            "MQTT" => ConnectionType::Mqtt,
            "MQTT_WS" => ConnectionType::MqttWebSocket,
            "IN_PROCESS" => ConnectionType::InProcess,
            _ => return None,
        })
    }
}

pub struct Directory {
    required: bool,
    users: HashMap<String, User>,
    nkeys: HashMap<String, User>,
    user: Option<(String, Secret)>,
    token: Option<Secret>,
    no_auth_user: Option<String>,
    anonymous: bool,
    map_certificates: bool,
    proxy_required: bool,
    permissions: Option<Arc<Permissions>>,
}

struct User {
    name: String,
    password: Secret,
    account: String,
    permissions: Option<Arc<Permissions>>,
    connection_types: Vec<ConnectionType>,
    proxy_required: bool,
}

impl User {
    fn allows(&self, kind: ConnectionType) -> bool {
        self.connection_types.is_empty() || self.connection_types.contains(&kind)
    }
}

/// What somebody who wants in presents.
pub struct Request<'a> {
    pub options: &'a ConnectOptions,
    pub nonce: &'a [u8],
    pub connection_type: ConnectionType,
    /// Names in the client's verified certificate.
    pub certificate: Option<&'a CertificateNames>,
}

/// What somebody who was let in may do.
#[derive(Clone, Debug)]
pub struct Grant {
    pub account: String,
    pub permissions: Option<Arc<Permissions>>,
    /// For logs and monitoring, never a secret.
    pub user: String,
}

pub enum Outcome {
    Granted(Grant),
    Denied(ClosedReason),
    /// The decision needs [`verify_bcrypt`], off the threads that serve connections.
    Bcrypt {
        hash: Secret,
        given: Secret,
        grant: Grant,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthSettingsError {
    #[error("invalid permissions for user {user:?}: {cause}")]
    Permissions { user: String, cause: InvalidPermission },
    #[error("no_auth_user: {0:?} not present as user or nkey in authorization block or account configuration")]
    NoAuthUser(String),
    #[error("user {0:?} is defined twice")]
    Duplicate(String),
}

const DENIED: Outcome = Outcome::Denied(ClosedReason::AuthenticationViolation);

impl Directory {
    pub fn new(settings: &AuthSettings) -> Result<Directory, AuthSettingsError> {
        let compile = |rules: &PermissionRules, user: &str| {
            Permissions::compile(rules)
                .map(Arc::new)
                .map_err(|cause| AuthSettingsError::Permissions { user: user.into(), cause })
        };
        let permissions = settings.default_permissions.as_ref().map(|rules| compile(rules, "default")).transpose()?;
        let lists_any = settings.user.is_some() || settings.token.is_some() || !settings.users.is_empty();
        let mut directory = Directory {
            required: lists_any || settings.anonymous,
            users: HashMap::new(),
            nkeys: HashMap::new(),
            user: settings.user.clone(),
            token: settings.token.clone(),
            no_auth_user: settings.no_auth_user.clone(),
            anonymous: settings.anonymous,
            map_certificates: settings.map_certificates,
            proxy_required: settings.proxy_required,
            permissions: permissions.clone(),
        };
        for entry in &settings.users {
            let (name, password, users) = match &entry.identity {
                UserIdentity::Password { name, password } => (name, password.clone(), &mut directory.users),
                UserIdentity::Nkey(key) => (key, Secret::default(), &mut directory.nkeys),
            };
            let own = entry.permissions.as_ref().map(|rules| compile(rules, name)).transpose()?;
            let user = User {
                name: name.clone(),
                password,
                account: entry.account.clone().unwrap_or_else(|| GLOBAL.into()),
                permissions: own.or_else(|| permissions.clone()),
                connection_types: entry.connection_types.clone(),
                proxy_required: entry.proxy_required,
            };
            if users.insert(name.clone(), user).is_some() {
                return Err(AuthSettingsError::Duplicate(name.clone()));
            }
        }
        match &directory.no_auth_user {
            Some(name) if !directory.users.contains_key(name) && !directory.nkeys.contains_key(name) => {
                Err(AuthSettingsError::NoAuthUser(name.clone()))
            }
            _ => Ok(directory),
        }
    }

    /// Whether clients have to say who they are at all.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Whether the first INFO should say so, as later ones do; with a user for those who say nothing it doesn't. It does
    /// where they are let into the global account, as with nats-server.
    pub fn is_announced(&self) -> bool {
        self.required && self.no_auth_user.is_none()
    }

    /// Whether INFO carries a challenge.
    pub fn wants_nonce(&self) -> bool {
        !self.nkeys.is_empty()
    }

    /// Whether something else than CONNECT may come first.
    pub fn admits_silent(&self) -> bool {
        self.no_auth_user.is_some() || self.anonymous
    }

    /// What a client that was let in by `old` may do now, and in which account; none when it would not be let in any
    /// more.
    ///
    /// Credentials are not kept, so it stays exactly if they would still be asked for in the same way. Its certificate is:
    /// where that says who it is, it has to name the user.
    pub fn recheck(
        &self,
        old: &Directory,
        user: &str,
        kind: ConnectionType,
        certificate: Option<&CertificateNames>,
    ) -> Option<Grant> {
        if !self.required {
            return Some(Grant { account: GLOBAL.into(), permissions: None, user: user.into() });
        }
        let asks_certificate = self.lists_users() && self.map_certificates && !self.nkeys.contains_key(user);
        if asks_certificate && !certificate.is_some_and(|names| names.name(user)) {
            return None;
        }
        if self.anonymous && user.is_empty() {
            return Some(anonymous());
        }
        if self.knows(user) {
            let find = |directory: &Directory| {
                let found = directory.users.get(user).or_else(|| directory.nkeys.get(user));
                found.map(|found| found.password.clone())
            };
            let same = find(self) == find(old);
            let entry = self.users.get(user).or_else(|| self.nkeys.get(user)).filter(|entry| entry.allows(kind));
            return entry.filter(|_| same).map(|entry| Grant {
                account: entry.account.clone(),
                permissions: entry.permissions.clone(),
                user: user.into(),
            });
        }
        let same = old.required && !old.knows(user) && old.user == self.user && old.token == self.token;
        let single = self.user.is_some() || self.token.is_some();
        (same && single).then(|| Grant {
            account: GLOBAL.into(),
            permissions: self.permissions.clone(),
            user: user.into(),
        })
    }

    /// Whether the user that `old` let in is one of those who are not let in at all any more, as opposed to one whose
    /// secret has changed.
    pub fn has_lost(&self, old: &Directory, user: &str) -> bool {
        let was_known = old.knows(user) || old.anonymous && user.is_empty();
        was_known && !self.knows(user)
    }

    /// Whether clients without a key are looked up by name, as opposed to a single user or a token.
    fn lists_users(&self) -> bool {
        !self.users.is_empty() || self.anonymous
    }

    /// Whether a user of this name or key is listed.
    fn knows(&self, user: &str) -> bool {
        self.users.contains_key(user) || self.nkeys.contains_key(user)
    }

    pub fn check(&self, request: &Request<'_>) -> Outcome {
        let options = request.options;
        if !self.required {
            return Outcome::Granted(Grant { account: GLOBAL.into(), permissions: None, user: shown_user(options) });
        }
        let silent = self.no_auth_user.as_deref().filter(|_| options.is_anonymous());
        if let Some(key) = silent.filter(|name| self.nkeys.contains_key(*name)) {
            return self.grant_known(self.nkeys.get(key), request);
        }
        if !self.nkeys.is_empty() && !options.nkey.is_empty() {
            let Some(user) = self.nkeys.get(&options.nkey) else {
                return DENIED;
            };
            if !nkey::verify(&options.nkey, request.nonce, options.signature.expose()) {
                return DENIED;
            }
            return self.grant_known(Some(user), request);
        }
        if self.lists_users() {
            if self.map_certificates {
                // The certificate says who it is, and takes no password's place.
                return self.certified(request).map_or(DENIED, |user| self.check_password(user, request));
            }
            // A key that nobody could have is as good as none here.
            if options.names_no_user() {
                if let Some(name) = &self.no_auth_user {
                    return self.grant_known(self.users.get(name), request);
                }
                if self.anonymous {
                    return Outcome::Granted(anonymous());
                }
            }
            if !options.user.is_empty() {
                return match self.users.get(&options.user) {
                    Some(user) => self.check_password(user, request),
                    None => DENIED,
                };
            }
        }
        self.check_single(options)
    }

    /// The user that the client's certificate names (S-05). The subject may also match with its components in
    /// another order.
    fn certified(&self, request: &Request<'_>) -> Option<&User> {
        let names = request.certificate?;
        let allowed = |user: &&User| user.allows(request.connection_type);
        if let Some(user) = names.alternative().find_map(|name| self.users.get(name).filter(allowed)) {
            return Some(user);
        }
        let subject = names.subject.as_ref()?;
        let known = || {
            let users = self.users.values().filter(allowed);
            users.filter_map(|user| Some((user, DistinguishedName::parse(&user.name)?)))
        };
        let same = known().find(|(_, name)| name == subject);
        let found = same.or_else(|| known().find(|(_, name)| name.matches_in_any_order(subject)));
        found.map(|(user, _)| user)
    }

    fn check_password(&self, user: &User, request: &Request<'_>) -> Outcome {
        match self.grant_known(Some(user), request) {
            Outcome::Granted(grant) => compare(&user.password, &request.options.password, grant),
            other => other,
        }
    }

    fn check_single(&self, options: &ConnectOptions) -> Outcome {
        if self.proxy_required {
            return Outcome::Denied(ClosedReason::ProxyRequired);
        }
        let grant = Grant { account: GLOBAL.into(), permissions: self.permissions.clone(), user: shown_user(options) };
        if let Some(token) = &self.token {
            return compare(token, &options.token, grant);
        }
        match &self.user {
            Some((name, password)) if *name == options.user => compare(password, &options.password, grant),
            _ => DENIED,
        }
    }

    fn grant_known(&self, user: Option<&User>, request: &Request<'_>) -> Outcome {
        let Some(user) = user else {
            return DENIED;
        };
        if !user.allows(request.connection_type) {
            return DENIED;
        }
        if user.proxy_required {
            return Outcome::Denied(ClosedReason::ProxyRequired);
        }
        Outcome::Granted(Grant {
            account: user.account.clone(),
            permissions: user.permissions.clone(),
            user: user.name.clone(),
        })
    }
}

/// For those who name nobody, where that is enough.
fn anonymous() -> Grant {
    Grant { account: GLOBAL.into(), permissions: None, user: String::new() }
}

fn compare(configured: &Secret, given: &Secret, grant: Grant) -> Outcome {
    if password::is_bcrypt(configured) {
        return Outcome::Bcrypt { hash: configured.clone(), given: given.clone(), grant };
    }
    if password::equal(configured, given) { Outcome::Granted(grant) } else { DENIED }
}

/// As `/connz` shows it.
fn shown_user(options: &ConnectOptions) -> String {
    if !options.nkey.is_empty() {
        options.nkey.clone()
    } else if !options.user.is_empty() {
        options.user.clone()
    } else if !options.token.is_empty() {
        "[REDACTED]".into()
    } else {
        String::new()
    }
}
