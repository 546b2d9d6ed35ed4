//! A connection to an app as a person gave it. The store keeps it as one sealed document.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// Where an app is, and what proves who we are.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where the app is; its connector's own address when it is `None`.
    pub base_url: Option<String>,
    /// As the connector's kind of sign-in needs it.
    pub token: SecretString,
    /// Private and link-local addresses, and HTTP without TLS, may be called.
    pub allow_private: bool,
}

#[derive(Serialize, Deserialize)]
struct Document {
    base_url: Option<String>,
    token: String,
    allow_private: bool,
}

impl Account {
    /// To be sealed.
    pub fn to_document(&self) -> SecretString {
        let document = Document {
            base_url: self.base_url.clone(),
            token: self.token.expose_secret().to_owned(),
            allow_private: self.allow_private,
        };
        // Texts and a boolean: that can't fail.
        SecretString::from(serde_json::to_string(&document).unwrap_or_default())
    }

    /// The inverse of [`Account::to_document`]; `None` for a text that it did not make.
    pub fn from_document(document: &SecretString) -> Option<Account> {
        let Document {
            base_url,
            token,
            allow_private,
        } = serde_json::from_str(document.expose_secret()).ok()?;
        Some(Account {
            base_url,
            token: SecretString::from(token),
            allow_private,
        })
    }
}
