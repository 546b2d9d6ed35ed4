//! `[oidc]`: a provider of identities (OpenID Connect) that signs people in, and whom its word lets in.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Source, directory};
use crate::place::FileError;
use crate::store::DEFAULT_WORKSPACE;
use crate::store::roles::Role;

/// The provider, and what it was told of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// On the button: "Sign in with …".
    pub name: String,
    /// As the provider writes it: what it says of itself must be equal.
    pub issuer: String,
    pub client_id: String,
    /// `None` for a client that the provider calls public.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Where a person's groups are told.
    pub groups_claim: String,
    /// The first that fits decides; whom none fits is refused unless invited.
    pub admit: Vec<Admit>,
}

/// Lets people in who are not known yet: all that is given must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admit {
    /// Lower case.
    pub email: Option<String>,
    /// What stands behind the @, lower case.
    pub domain: Option<String>,
    pub group: Option<String>,
    pub role: Role,
    pub workspace: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOidc {
    name: Option<Spanned<String>>,
    issuer: Option<Spanned<String>>,
    client_id: Option<Spanned<String>>,
    client_secret_file: Option<Spanned<String>>,
    scopes: Vec<Spanned<String>>,
    groups_claim: Option<Spanned<String>>,
    admit: Vec<Spanned<RawAdmit>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdmit {
    email: Option<String>,
    domain: Option<String>,
    group: Option<String>,
    role: Role,
    workspace: Option<String>,
}

impl Oidc {
    /// `None` without an issuer.
    pub(super) fn read(
        source: &Source<'_>,
        raw: RawOidc,
        has_public_url: bool,
    ) -> Result<Option<Oidc>, ConfigError> {
        let span = raw.issuer.as_ref().map(Spanned::span);
        let others = [&raw.name, &raw.client_id, &raw.client_secret_file];
        let other = others.into_iter().flatten().next().map(Spanned::span);
        let wrong = |message: &str| ConfigError::File {
            path: source.path.to_owned(),
            error: FileError::at(
                source.text,
                span.clone().or(other.clone()).unwrap_or(0..0),
                message,
            ),
        };
        let issuer = source.one("TIDEGATE_OIDC_ISSUER", raw.issuer, issuer)?;
        let client_id = source.one("TIDEGATE_OIDC_CLIENT_ID", raw.client_id, word)?;
        let name = source.one("TIDEGATE_OIDC_NAME", raw.name, word)?;
        let file = "TIDEGATE_OIDC_CLIENT_SECRET_FILE";
        let client_secret_file = source.one(file, raw.client_secret_file, directory)?;
        let groups = "TIDEGATE_OIDC_GROUPS_CLAIM";
        let groups_claim = source.one(groups, raw.groups_claim, word)?;
        let scopes = source.many("TIDEGATE_OIDC_SCOPES", raw.scopes, scope)?;
        let admit = raw.admit.into_iter().map(|one| admit(source, one));
        let admit: Vec<Admit> = admit.collect::<Result<_, _>>()?;
        let Some(issuer) = issuer else {
            let is_meant = name.is_some() || client_id.is_some() || !admit.is_empty();
            return match is_meant {
                true => Err(wrong("[oidc] needs `issuer`: the provider's URL")),
                false => Ok(None),
            };
        };
        let missing = "[oidc] needs `client_id`: the name under which the provider knows the relay";
        let client_id = client_id.ok_or_else(|| wrong(missing))?;
        if !has_public_url {
            let text = "[oidc] needs `public_url` in [http]: the provider sends people back there";
            return Err(wrong(text));
        }
        if !scopes.is_empty() && !scopes.iter().any(|scope| scope == "openid") {
            return Err(wrong("`scopes` of [oidc] has to contain \"openid\""));
        }
        let usual = || ["openid", "email", "profile"].map(str::to_owned).to_vec();
        Ok(Some(Oidc {
            name: name.unwrap_or_else(|| host_of(&issuer)),
            issuer,
            client_id,
            client_secret_file,
            scopes: if scopes.is_empty() { usual() } else { scopes },
            groups_claim: groups_claim.unwrap_or_else(|| "groups".to_owned()),
            admit,
        }))
    }

    pub(super) fn render(&self) -> String {
        let mut out = format!(
            "\n[oidc]\nname = {:?}\nissuer = {:?}\nclient_id = {:?}\n",
            self.name, self.issuer, self.client_id
        );
        if let Some(file) = &self.client_secret_file {
            out += &format!("client_secret_file = {:?}\n", file.display().to_string());
        }
        out += &format!("scopes = {:?}\n", self.scopes);
        out += &format!("groups_claim = {:?}\n", self.groups_claim);
        for admit in &self.admit {
            out += "[[oidc.admit]]\n";
            for (key, value) in [
                ("email", &admit.email),
                ("domain", &admit.domain),
                ("group", &admit.group),
            ] {
                if let Some(value) = value {
                    out += &format!("{key} = {value:?}\n");
                }
            }
            out += &format!("role = \"{}\"\n", admit.role);
            out += &format!("workspace = {:?}\n", admit.workspace);
        }
        out
    }
}

fn admit(source: &Source<'_>, raw: Spanned<RawAdmit>) -> Result<Admit, ConfigError> {
    let span = raw.span();
    let raw = raw.into_inner();
    let wrong = |message: &str| ConfigError::File {
        path: source.path.to_owned(),
        error: FileError::at(source.text, span.clone(), message),
    };
    if raw.email.is_none() && raw.domain.is_none() && raw.group.is_none() {
        let text = "a rule says whom it lets in: give `email`, `domain` or `group`";
        return Err(wrong(text));
    }
    let is_domain = |domain: &String| !domain.is_empty() && !domain.contains('@');
    if !raw.domain.as_ref().is_none_or(is_domain) {
        return Err(wrong(
            "a domain is what stands behind the @: \"example.com\"",
        ));
    }
    let workspace = raw.workspace.unwrap_or(DEFAULT_WORKSPACE.to_owned());
    let is_name = |c: char| !c.is_control() && !c.is_whitespace();
    if workspace.is_empty() || !workspace.chars().all(is_name) {
        return Err(wrong("a workspace's name is a word"));
    }
    Ok(Admit {
        email: raw.email.map(|email| email.trim().to_lowercase()),
        domain: raw.domain.map(|domain| domain.trim().to_lowercase()),
        group: raw.group,
        role: raw.role,
        workspace,
    })
}

/// What was found is not repeated: it may hold a password.
fn issuer(text: &str) -> Result<String, String> {
    let wrong = || "expected the provider's URL such as \"https://login.example.com\"".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?;
    let is_plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match url.scheme() {
        _ if !is_plain => Err(wrong()),
        "https" => Ok(text.to_owned()),
        "http" if is_here => Ok(text.to_owned()),
        "http" => Err("expected https: whoever could read along could sign in".to_owned()),
        _ => Err(wrong()),
    }
}

fn host_of(issuer: &str) -> String {
    let url = reqwest::Url::parse(issuer).ok();
    let host = url.as_ref().and_then(|url| url.host_str());
    host.unwrap_or("single sign-on").to_owned()
}

fn word(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.is_empty() || text.contains(char::is_control) || text.len() > 200 {
        true => Err("expected a text of one line, 1 to 200 bytes".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// RFC 6749, section 3.3.
fn scope(text: &str) -> Result<String, String> {
    let is_of_a_scope = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    match !text.is_empty() && text.chars().all(is_of_a_scope) {
        true => Ok(text.to_owned()),
        false => Err("expected a scope such as \"email\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    const LEAST: &str = "[http]\npublic_url = \"https://t.example\"\n[oidc]\n";

    fn parse(text: &str) -> Result<Option<Oidc>, String> {
        let config = Config::parse(text, Path::new("relay.toml"), &|_| None);
        config.map(|config| config.oidc).map_err(|e| e.to_string())
    }

    #[test]
    fn the_least_that_is_told_is_an_issuer_and_who_we_are_there() {
        let text = format!("{LEAST}issuer = \"https://login.example\"\nclient_id = \"t\"\n");
        let oidc = parse(&text).unwrap().unwrap();
        assert_eq!(oidc.name, "login.example");
        assert_eq!(oidc.scopes, ["openid", "email", "profile"]);
        assert_eq!(
            (oidc.groups_claim.as_str(), oidc.admit.len()),
            ("groups", 0)
        );
        assert_eq!(parse("").unwrap(), None);
    }

    #[test]
    fn what_is_missing_or_dangerous_is_refused() {
        let rule = "issuer = \"https://a.example\"\nclient_id = \"t\"\n[[oidc.admit]]\n";
        for (rest, expected) in [
            ("client_id = \"t\"\n", "needs `issuer`"),
            ("issuer = \"https://a.example\"\n", "needs `client_id`"),
            ("issuer = \"http://a.example\"\n", "expected https"),
            ("issuer = \"https://u:hunter2@a.example\"\n", "expected the"),
            (&format!("{rule}role = \"admin\"\n"), "give `email`"),
            (
                &format!("{rule}domain = \"a@b\"\nrole = \"admin\"\n"),
                "behind the @",
            ),
            (&format!("{rule}domain = \"b\"\nrole = \"boss\"\n"), "boss"),
            (&format!("scopes = [\"email\"]\n{rule}"), "role"),
        ] {
            let refused = parse(&format!("{LEAST}{rest}")).expect_err(rest);
            assert!(refused.contains(expected), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        let no_url = "[oidc]\nissuer = \"https://a.example\"\nclient_id = \"t\"\n";
        assert!(parse(no_url).unwrap_err().contains("public_url"));
    }
}
