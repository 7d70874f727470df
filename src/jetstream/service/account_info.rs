//! `INFO`: what the account uses of JetStream (J-01, T-76).

use super::Request;
use crate::jetstream::api::requests;
use crate::jetstream::api::responses::AccountInfoReply;
use crate::jetstream::api::{ApiError, error_codes};

impl Request<'_> {
    pub(super) fn account_info(&self) {
        self.respond(self.account_info_reply());
    }

    fn account_info_reply(&self) -> Result<AccountInfoReply, ApiError> {
        self.check_level()?;
        if !requests::is_empty(self.body) {
            return Err(error_codes::NOT_EMPTY_REQUEST.error());
        }
        Ok(AccountInfoReply(Some(self.account.info(self.node))))
    }
}
