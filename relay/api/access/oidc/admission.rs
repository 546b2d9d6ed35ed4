//! Whom a provider's word lets in. Pure.
//!
//! Somebody is recognised by issuer and subject alone. An e-mail address, verified, only brings in who is
//! new here: by a rule, or because an admin invited that address and gave it no password. A user who has
//! a password is never taken over by an address: whoever knows the password connects the two.

use serde_json::{Map, Value};

use super::id_token::{Claims, text};
use crate::api::access::users::named;
use crate::config::Admit;
use crate::store::DEFAULT_WORKSPACE;
use crate::store::identities::Known;
use crate::store::roles::Role;
use crate::store::users::UserRecord;

/// What the provider tells of somebody.
pub(super) struct Person {
    pub subject: String,
    /// Only if it is verified; as a name here.
    pub email: Option<String>,
    groups: Vec<String>,
}

impl Person {
    pub(super) fn of(claims: Claims, groups_claim: &str) -> Person {
        let email = text(&claims.all, "email").filter(|_| is_verified(&claims.all));
        let email = email.filter(|email| email.contains('@'));
        let groups = match claims.all.get(groups_claim) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => {
                let names = many.iter().filter_map(Value::as_str);
                names.map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        Person {
            email: email.and_then(|email| named(email).ok()),
            subject: claims.subject,
            groups,
        }
    }
}

/// Some providers write it as a text.
fn is_verified(claims: &Map<String, Value>) -> bool {
    match claims.get("email_verified") {
        Some(Value::Bool(is_verified)) => *is_verified,
        Some(Value::String(text)) => text == "true",
        _ => false,
    }
}

/// What is known here, when somebody comes in.
pub(super) struct Facts {
    pub known: Option<Known>,
    /// Whoever has the address as name, and whether another identity comes in as that user.
    pub namesake: Option<(UserRecord, bool)>,
    /// Whether anybody can sign in at all.
    pub anybody: bool,
    /// Whoever is signed in and asked to be connected.
    pub connects: Option<UserRecord>,
}

/// What is done when somebody comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Enter(UserRecord),
    /// With the role that the rules say by now.
    EnterAs(UserRecord, Role),
    /// The identity is this user from now on.
    Connect(UserRecord),
    Add {
        name: String,
        role: Role,
        workspace: String,
    },
}

/// Why somebody is not let in. The names are stable: the console says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing is on its way: too late, twice, or begun in another browser.
    Stale,
    /// The person or the provider said no.
    Cancelled,
    ProviderUnreachable,
    /// It answered what can't be believed; the log says what.
    ProviderAnswer,
    UnverifiedEmail,
    NotAdmitted,
    /// A user has this address as name, and something else to sign in with.
    NameTaken,
    /// This identity is another user's.
    ConnectedElsewhere,
    /// The first who comes in has to be an administrator.
    NotSetUp,
    Internal,
}

impl Refusal {
    pub(super) fn code(self) -> &'static str {
        match self {
            Refusal::Stale => "stale",
            Refusal::Cancelled => "cancelled",
            Refusal::ProviderUnreachable => "provider-unreachable",
            Refusal::ProviderAnswer => "provider-answer",
            Refusal::UnverifiedEmail => "unverified-email",
            Refusal::NotAdmitted => "not-admitted",
            Refusal::NameTaken => "name-taken",
            Refusal::ConnectedElsewhere => "connected-elsewhere",
            Refusal::NotSetUp => "not-set-up",
            Refusal::Internal => "internal",
        }
    }
}

/// Whether and as whom.
pub(super) fn decide(facts: Facts, person: &Person, rules: &[Admit]) -> Result<Step, Refusal> {
    match (facts.connects, facts.known) {
        (Some(asks), None) => return Ok(Step::Connect(asks)),
        (Some(asks), Some(known)) if known.user.id == asks.id => return Ok(Step::Enter(asks)),
        (Some(_), Some(_)) => return Err(Refusal::ConnectedElsewhere),
        (None, Some(known)) => return again(known, person, rules),
        (None, None) => {}
    }
    let email = person.email.clone().ok_or(Refusal::UnverifiedEmail)?;
    if let Some((user, is_connected)) = facts.namesake {
        return match !user.has_password && !is_connected {
            true => Ok(Step::Connect(user)),
            false => Err(Refusal::NameTaken),
        };
    }
    let rule = rules.iter().find(|rule| fits(rule, person));
    let rule = rule.ok_or(Refusal::NotAdmitted)?;
    let is_host = rule.role == Role::Admin && rule.workspace == DEFAULT_WORKSPACE;
    if !facts.anybody && !is_host {
        return Err(Refusal::NotSetUp);
    }
    Ok(Step::Add {
        name: email,
        role: rule.role,
        workspace: rule.workspace.clone(),
    })
}

/// Whoever came in by a rule needs one each time. One for another workspace says nothing of this one.
fn again(known: Known, person: &Person, rules: &[Admit]) -> Result<Step, Refusal> {
    let user = known.user;
    if !known.by_rule {
        return Ok(Step::Enter(user));
    }
    let mut here = rules.iter().filter(|rule| rule.workspace == user.workspace);
    match here.find(|rule| fits(rule, person)) {
        None => Err(Refusal::NotAdmitted),
        Some(rule) if rule.role == user.role => Ok(Step::Enter(user)),
        Some(rule) => Ok(Step::EnterAs(user, rule.role)),
    }
}

fn fits(rule: &Admit, person: &Person) -> bool {
    let email = person.email.as_deref();
    let domain = email
        .and_then(|email| email.rsplit_once('@'))
        .map(|at| at.1);
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
    };
    let in_group = |wanted: &String| person.groups.contains(wanted);
    let is_any = rule.email.is_some() || rule.domain.is_some() || rule.group.is_some();
    is_any
        && is(&rule.email, email)
        && is(&rule.domain, domain)
        && rule.group.as_ref().is_none_or(in_group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn person(claims: Value) -> Person {
        let all = claims.as_object().unwrap().clone();
        let subject = "7".to_owned();
        Person::of(Claims { subject, all }, "groups")
    }

    fn ann(groups: &[&str]) -> Person {
        person(json!({"email": "Ann@Example.com", "email_verified": true, "groups": groups}))
    }

    fn user(role: Role, has_password: bool) -> UserRecord {
        UserRecord {
            id: 3,
            workspace: "default".into(),
            name: "ann@example.com".into(),
            role,
            has_password,
            created_at_ms: 0,
        }
    }

    fn nobody() -> Facts {
        Facts {
            known: None,
            namesake: None,
            anybody: true,
            connects: None,
        }
    }

    fn known(by_rule: bool) -> Facts {
        let user = user(Role::Viewer, false);
        Facts {
            known: Some(Known { user, by_rule }),
            ..nobody()
        }
    }

    fn rule(domain: Option<&str>, group: Option<&str>, role: Role) -> Admit {
        Admit {
            email: None,
            domain: domain.map(str::to_owned),
            group: group.map(str::to_owned),
            role,
            workspace: "default".into(),
        }
    }

    fn rules() -> [Admit; 2] {
        [
            rule(None, Some("admins"), Role::Admin),
            rule(Some("example.com"), None, Role::Viewer),
        ]
    }

    #[test]
    fn the_first_rule_that_fits_lets_in_and_nobody_else_comes_in() {
        let role = |person: &Person| match decide(nobody(), person, &rules()) {
            Ok(Step::Add { role, name, .. }) => Ok((role, name)),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        };
        let name = || "ann@example.com".to_owned();
        assert_eq!(role(&ann(&[])), Ok((Role::Viewer, name())));
        assert_eq!(role(&ann(&["x", "admins"])), Ok((Role::Admin, name())));
        for email in [
            "ann@example.com.evil.net",
            "ann@evil.net",
            "ann@sub.example.com",
        ] {
            let other = person(json!({"email": email, "email_verified": true}));
            assert_eq!(role(&other), Err(Refusal::NotAdmitted), "{email}");
        }
        assert_eq!(decide(nobody(), &ann(&[]), &[]), Err(Refusal::NotAdmitted));
        let both = [rule(Some("example.com"), Some("admins"), Role::Admin)];
        assert_eq!(
            decide(nobody(), &ann(&[]), &both),
            Err(Refusal::NotAdmitted)
        );
    }

    #[test]
    fn an_address_that_is_not_verified_is_nobodys() {
        for claims in [
            json!({"email": "ann@example.com"}),
            json!({"email": "ann@example.com", "email_verified": false}),
            json!({"email": "ann@example.com", "email_verified": "yes"}),
            json!({"email": "example.com", "email_verified": true}),
            json!({"email_verified": true, "groups": ["admins"]}),
        ] {
            let refused = decide(nobody(), &person(claims.clone()), &rules());
            assert_eq!(refused, Err(Refusal::UnverifiedEmail), "{claims}");
        }
        let text = json!({"email": "ann@example.com", "email_verified": "true"});
        assert!(decide(nobody(), &person(text), &rules()).is_ok());
    }

    #[test]
    fn a_user_with_a_password_or_an_identity_is_not_taken_over() {
        let with = |has_password, is_connected| Facts {
            namesake: Some((user(Role::Admin, has_password), is_connected)),
            ..nobody()
        };
        let decided = |facts| decide(facts, &ann(&["admins"]), &rules());
        assert_eq!(decided(with(true, false)), Err(Refusal::NameTaken));
        assert_eq!(decided(with(false, true)), Err(Refusal::NameTaken));
        // Invited, to come in so.
        let invited = user(Role::Admin, false);
        assert_eq!(decided(with(false, false)), Ok(Step::Connect(invited)));
    }

    #[test]
    fn whoever_came_in_by_a_rule_needs_one_each_time() {
        let viewer = user(Role::Viewer, false);
        let decided = |facts, person: &Person| decide(facts, person, &rules());
        assert_eq!(
            decided(known(true), &ann(&[])),
            Ok(Step::Enter(viewer.clone()))
        );
        let promoted = decided(known(true), &ann(&["admins"]));
        assert_eq!(promoted, Ok(Step::EnterAs(viewer.clone(), Role::Admin)));
        let left = person(json!({"email": "ann@other.com", "email_verified": true}));
        assert_eq!(decided(known(true), &left), Err(Refusal::NotAdmitted));
        // Whom somebody let in here stays what somebody made of it here.
        assert_eq!(decided(known(false), &left), Ok(Step::Enter(viewer)));
        let mut elsewhere = rules();
        elsewhere
            .iter_mut()
            .for_each(|rule| rule.workspace = "sales".into());
        let moved = decide(known(true), &ann(&["admins"]), &elsewhere);
        assert_eq!(moved, Err(Refusal::NotAdmitted));
    }

    #[test]
    fn the_first_who_comes_in_is_an_administrator_who_hosts() {
        let empty = || Facts {
            anybody: false,
            ..nobody()
        };
        assert_eq!(decide(empty(), &ann(&[]), &rules()), Err(Refusal::NotSetUp));
        assert!(decide(empty(), &ann(&["admins"]), &rules()).is_ok());
        let mut elsewhere = rules();
        elsewhere[0].workspace = "sales".into();
        let refused = decide(empty(), &ann(&["admins"]), &elsewhere);
        assert_eq!(refused, Err(Refusal::NotSetUp));
    }

    #[test]
    fn a_signed_in_user_connects_an_identity_that_is_nobody_elses() {
        let me = UserRecord {
            id: 9,
            ..user(Role::Editor, true)
        };
        let asks = |facts| Facts {
            connects: Some(me.clone()),
            ..facts
        };
        let stranger = person(json!({}));
        let decided = |facts| decide(asks(facts), &stranger, &[]);
        assert_eq!(decided(nobody()), Ok(Step::Connect(me.clone())));
        assert_eq!(decided(known(true)), Err(Refusal::ConnectedElsewhere));
        let mut mine = known(false);
        mine.known = mine.known.map(|known| Known {
            user: me.clone(),
            ..known
        });
        assert_eq!(decided(mine), Ok(Step::Enter(me.clone())));
    }
}
