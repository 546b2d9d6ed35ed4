//! Checks an account against its connector: where calls go and what proves who we are.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use super::manifest::{Auth, Manifest};
use crate::endpoint::address::is_public;
use crate::endpoint::{Account, EndpointError};

/// The base URL, checked, without a slash at its end.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub(super) fn base(account: &Account, manifest: &Manifest) -> Result<Url, EndpointError> {
    let bad = |text: String| EndpointError::operator("bad-url", text);
    let text = account
        .base_url
        .as_deref()
        .or(manifest.http.base_url.as_deref());
    let text = text.ok_or_else(|| {
        let title = &manifest.title;
        bad(format!(
            "say where {title} is: --base-url https://host/path"
        ))
    })?;
    let url = Url::parse(text.trim_end_matches('/'))
        .map_err(|_| bad("the base URL is no URL: write https://host/path".to_owned()))?;
    let has_more = url.query().is_some() || url.fragment().is_some();
    if has_more || !url.username().is_empty() || url.password().is_some() {
        let text = "a base URL has no user, query or fragment: write https://host/path";
        return Err(bad(text.to_owned()));
    }
    let Some(host) = url.host_str() else {
        return Err(bad("the base URL names no host".to_owned()));
    };
    match url.scheme() {
        "https" => {}
        "http" if account.allow_private => {}
        "http" => {
            let text = "the token would travel unencrypted: use https, or --allow-private for \
                            an app in a trusted network";
            return Err(bad(text.to_owned()));
        }
        other => return Err(bad(format!("`{other}` is not spoken: use https"))),
    }
    let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    if !account.allow_private && literal.is_some_and(|address| !is_public(address)) {
        let text = format!("{host} is a private address: --allow-private allows it");
        return Err(EndpointError::operator("private-address", text));
    }
    Ok(url)
}

/// The header that proves who we are.
///
/// # Errors
/// When the token is not what the app's kind of sign-in needs.
pub(super) fn proof(
    account: &Account,
    auth: &Auth,
) -> Result<(HeaderName, HeaderValue), EndpointError> {
    let bad = |text: &str| EndpointError::operator("bad-token", text);
    let token = account.token.expose_secret().trim();
    let (name, text) = match auth {
        Auth::Bearer => (AUTHORIZATION, format!("Bearer {token}")),
        Auth::Header { name } => {
            let name = HeaderName::try_from(name.as_str());
            let name = name.map_err(|_| bad("the manifest's header has no valid name"))?;
            (name, token.to_owned())
        }
        Auth::Basic if !token.contains(':') => {
            return Err(bad("the token file must hold user:password"));
        }
        Auth::Basic => (AUTHORIZATION, format!("Basic {}", STANDARD.encode(token))),
    };
    let value = HeaderValue::try_from(text);
    let mut value = value.map_err(|_| bad("the token has characters that no header can hold"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::endpoint::rest::manifest::load;

    fn checked(url: &str, allow_private: bool) -> Result<Url, EndpointError> {
        let manifest = load(include_str!("connectors/kinto.toml")).unwrap();
        let account = Account {
            base_url: Some(url.to_owned()),
            token: SecretString::from("a:b"),
            allow_private,
        };
        base(&account, &manifest)
    }

    #[test]
    fn only_public_https_unless_the_operator_allows_more() {
        assert!(checked("https://kinto.example.com/v1/", false).is_ok());
        for refused in [
            "http://kinto.example.com/v1",
            "https://127.0.0.1/v1",
            "https://[::1]/v1",
            "https://a:b@kinto.example.com",
            "https://kinto.example.com/?a=b",
            "ftp://kinto.example.com",
            "kinto",
        ] {
            assert!(checked(refused, false).is_err(), "{refused}");
        }
        assert!(checked("http://127.0.0.1:8888/v1", true).is_ok());
        assert!(checked("file:///etc/passwd", true).is_err());
    }
}
