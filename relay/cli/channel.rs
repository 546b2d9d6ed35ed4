//! `channel`: where notifications go: add, list, show, change, test, deliveries, resend, remove.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use super::client::Client;
use super::output::{self, or_dash, plain};
use super::{CliError, Exit};
use crate::api::channels::{
    ChannelChange, ChannelInfo, ChannelMade, ChannelTest, Delivery, EmailTarget, NewChannel,
    SlackTarget, WebhookTarget,
};
use crate::notify::event::Event;
use crate::notify::target::Security;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a channel: a signed webhook, an incoming webhook of Slack's, or e-mail.
    #[command(
        after_help = "Example:\n  tidegate-relay channel add ops --slack-url-file slack.url\n  \
                      tidegate-relay channel add pager --webhook-url-file pager.url > pager.secret\n  \
                      tidegate-relay channel add mail --smtp mail.example.com --user relay \
                      --password-file mail.password --from relay@example.com --to ops@example.com"
    )]
    Add(Add),
    /// List the channels, and whether the last message arrived.
    #[command(after_help = "Example:\n  tidegate-relay channel list")]
    List,
    /// Show one channel, without its address and keys.
    #[command(after_help = "Example:\n  tidegate-relay channel show ops")]
    Show { name: String },
    /// Change what a channel is told of and where it leads, turn it off or on, or make another secret for
    /// a webhook. What could not be delivered is tried again at once.
    #[command(after_help = "Example:\n  tidegate-relay channel change ops --events \
                      sync.stopped,sync.approval,agent.offline\n  tidegate-relay channel change ops \
                      --slack-url-file new.url")]
    Change(Change),
    /// Send a test now. Exit code 1: it did not arrive.
    #[command(after_help = "Example:\n  tidegate-relay channel test ops")]
    Test { name: String },
    /// List the messages to a channel, the newest first.
    #[command(after_help = "Example:\n  tidegate-relay channel deliveries ops --limit 20")]
    Deliveries {
        name: String,
        /// At most so many, up to 1000.
        #[arg(long, value_name = "COUNT", default_value = "50")]
        limit: u32,
    },
    /// Send a message again that was given up; `channel deliveries` tells its number.
    #[command(after_help = "Example:\n  tidegate-relay channel resend ops 17")]
    Resend { name: String, delivery: i64 },
    /// Remove a channel, with what was to be delivered to it.
    #[command(after_help = "Example:\n  tidegate-relay channel remove ops")]
    Remove { name: String },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    name: String,
    #[command(flatten)]
    target: TargetArgs,
    /// What it is told of, with commas between; everything unless given.
    #[arg(long, value_name = "EVENTS", value_delimiter = ',', value_parser = event)]
    events: Vec<Event>,
    /// The target may be at a private address, and be spoken to without TLS.
    #[arg(long)]
    allow_private: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false, id = "target")]
struct Where {
    /// File with a webhook's URL, - for stdin. The secret is printed once, alone on stdout.
    #[arg(long, value_name = "FILE")]
    webhook_url_file: Option<PathBuf>,
    /// File with the URL of an incoming webhook of Slack's, - for stdin.
    #[arg(long, value_name = "FILE")]
    slack_url_file: Option<PathBuf>,
    /// A mail server, such as mail.example.com or mail.example.com:465.
    #[arg(long, value_name = "HOST[:PORT]")]
    smtp: Option<String>,
}

#[derive(Debug, Args)]
struct TargetArgs {
    #[command(flatten)]
    place: Where,
    /// File with the key that a webhook is signed with (whsec_…); one is made unless given.
    #[arg(long, value_name = "FILE", requires = "webhook_url_file")]
    secret_file: Option<PathBuf>,
    /// How the way to the mail server is encrypted.
    #[arg(long, value_enum, default_value = "tls")]
    security: SecurityArg,
    /// As whom to sign in at the mail server.
    #[arg(long, requires_all = ["smtp", "password_file"])]
    user: Option<String>,
    /// File with the password for that, - for stdin.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// The sender's address.
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    from: Option<String>,
    /// The recipients' addresses, with commas between.
    #[arg(
        long,
        value_name = "ADDRESSES",
        value_delimiter = ',',
        requires = "smtp"
    )]
    to: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SecurityArg {
    Tls,
    Starttls,
    None,
}

impl From<SecurityArg> for Security {
    fn from(security: SecurityArg) -> Security {
        match security {
            SecurityArg::Tls => Security::Tls,
            SecurityArg::Starttls => Security::Starttls,
            SecurityArg::None => Security::None,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Change {
    name: String,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
#[group(multiple = true)]
struct Changes {
    /// What it is told of from now on, with commas between; `all` for everything.
    #[arg(long, value_name = "EVENTS")]
    events: Option<String>,
    /// Tell it nothing any more.
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Tell it again, from now on.
    #[arg(long)]
    enable: bool,
    /// Make another secret for a webhook; it is printed once, alone on stdout.
    #[arg(long)]
    new_secret: bool,
    /// Whether the target may be at a private address, and be spoken to without TLS.
    #[arg(long, value_name = "true|false")]
    allow_private: Option<bool>,
}

fn event(name: &str) -> Result<Event, String> {
    let known = || {
        let names: Vec<&str> = Event::ALL.iter().map(|event| event.name()).collect();
        format!("expected one of {}", names.join(", "))
    };
    Event::parse(name.trim()).ok_or_else(known)
}

pub(super) async fn run(api: &Client, json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Add(args) => {
            let made: ChannelMade = api.post(&["channels"], &new_channel(args)?).await?;
            told(json, &made, "is added. Try it: channel test")?;
        }
        Command::List => list(api, json).await?,
        Command::Show { name } => {
            let channel: ChannelInfo = api.get(&["channels", &name]).await?;
            match json {
                true => output::json(&channel)?,
                false => show(&channel),
            }
        }
        Command::Change(args) => {
            let change = changed(args.target, &args.changes)?;
            let made: ChannelMade = api.patch(&["channels", &args.name], &change).await?;
            told(json, &made, "is changed. Try it: channel test")?;
        }
        Command::Test { name } => return test(api, json, &name).await,
        Command::Deliveries { name, limit } => deliveries(api, json, &name, limit).await?,
        Command::Resend { name, delivery } => {
            let number = delivery.to_string();
            let path = ["channels", &name, "deliveries", &number, "resend"];
            let resent: Delivery = api.act(&path).await?;
            match json {
                true => output::json(&resent)?,
                false => output::note(&format!("It is sent again: {}", plain(&resent.summary))),
            }
        }
        Command::Remove { name } => {
            api.delete(&["channels", &name]).await?;
            if json {
                output::json(&json!({"name": name, "removed": true}))?;
            } else {
                output::note(&format!("Channel {} is removed.", plain(&name)));
            }
        }
    }
    Ok(Exit::Done)
}

fn new_channel(args: Add) -> Result<NewChannel, CliError> {
    let (webhook, slack, email) = target_of(args.target)?;
    if webhook.is_none() && slack.is_none() && email.is_none() {
        let text = "say where it leads: --webhook-url-file, --slack-url-file or --smtp";
        return Err(CliError::Usage(text.into()));
    }
    Ok(NewChannel {
        name: args.name,
        webhook,
        slack,
        email,
        events: (!args.events.is_empty()).then_some(args.events),
        allow_private: args.allow_private,
    })
}

type Target = (
    Option<WebhookTarget>,
    Option<SlackTarget>,
    Option<EmailTarget>,
);

/// Where a channel leads, if that is said.
fn target_of(args: TargetArgs) -> Result<Target, CliError> {
    let TargetArgs {
        place,
        secret_file,
        security,
        user,
        password_file,
        from,
        to,
    } = args;
    let secret_text = |file: &Option<PathBuf>| file.as_deref().map(secret_of).transpose();
    let webhook = match secret_text(&place.webhook_url_file)? {
        Some(url) => Some(WebhookTarget {
            url,
            secret: secret_text(&secret_file)?,
        }),
        None => None,
    };
    let url = secret_text(&place.slack_url_file)?;
    let email = match place.smtp {
        Some(server) => {
            let (host, port) = host_and_port(&server)?;
            let missing = || CliError::Usage("e-mail needs a sender: give --from".into());
            Some(EmailTarget {
                host,
                port,
                security: security.into(),
                user,
                password: secret_text(&password_file)?,
                from: from.ok_or_else(missing)?,
                to,
            })
        }
        None => None,
    };
    Ok((webhook, url.map(|url| SlackTarget { url }), email))
}

fn secret_of(file: &std::path::Path) -> Result<Zeroizing<String>, CliError> {
    let text = Zeroizing::new(output::read_text(file)?);
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// `host`, `host:port` or `[v6]:port`.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), CliError> {
    let wrong = |_| CliError::Usage("--smtp: expected a host such as mail.example.com:465".into());
    let is_bare_v6 = text.matches(':').count() > 1 && !text.starts_with('[');
    match text.rsplit_once(':') {
        Some((host, port)) if !is_bare_v6 && !text.ends_with(']') => {
            Ok((host.to_owned(), Some(port.parse().map_err(wrong)?)))
        }
        _ => Ok((text.to_owned(), None)),
    }
}

fn changed(target: TargetArgs, args: &Changes) -> Result<ChannelChange, CliError> {
    let (webhook, slack, email) = target_of(target)?;
    let events = match args.events.as_deref() {
        None => None,
        Some("all") => Some(Vec::new()),
        Some(names) => {
            let events: Result<Vec<Event>, String> = names.split(',').map(event).collect();
            Some(events.map_err(|text| CliError::Usage(format!("--events: {text}")))?)
        }
    };
    let change = ChannelChange {
        webhook,
        slack,
        email,
        events,
        enabled: match (args.enable, args.disable) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
        new_secret: args.new_secret,
        allow_private: args.allow_private,
    };
    let says_where = change.webhook.is_some() || change.slack.is_some() || change.email.is_some();
    let says_how = change.events.is_some() || change.enabled.is_some() || change.new_secret;
    match says_where || says_how || change.allow_private.is_some() {
        true => Ok(change),
        false => Err(CliError::Usage(
            "say what changes: see channel change --help".into(),
        )),
    }
}

fn told(json: bool, made: &ChannelMade, what: &str) -> Result<(), CliError> {
    if json {
        return output::json(made);
    }
    let name = plain(&made.channel.name);
    if let Some(secret) = &made.secret {
        output::say(secret);
        output::note("That is the secret by which receivers verify: it is not shown again.");
    }
    output::note(&format!("Channel {name} {what} {name}"));
    Ok(())
}

async fn list(api: &Client, json: bool) -> Result<(), CliError> {
    let channels: Vec<ChannelInfo> = api.get(&["channels"]).await?;
    if json {
        return output::json(&channels);
    }
    let row = |channel: &ChannelInfo| {
        let (name, kind) = (channel.name.clone(), channel.kind.clone());
        vec![
            name,
            kind,
            channel.target.clone(),
            events(channel),
            stands(channel),
        ]
    };
    let rows = channels.iter().map(row).collect();
    let empty = "Nobody is notified: add a channel with `channel add NAME`.";
    output::table(&["NAME", "KIND", "TARGET", "EVENTS", "STATE"], rows, empty);
    Ok(())
}

fn events(channel: &ChannelInfo) -> String {
    let names = |events: &Vec<Event>| {
        let names: Vec<&str> = events.iter().map(|event| event.name()).collect();
        names.join(", ")
    };
    channel
        .events
        .as_ref()
        .map_or_else(|| "all".to_owned(), names)
}

fn stands(channel: &ChannelInfo) -> String {
    match (&channel.last_error, &channel.delivered_at) {
        _ if !channel.enabled => "off".to_owned(),
        (Some(error), _) => error.clone(),
        (None, Some(at)) => format!("delivered {at}"),
        (None, None) => "nothing sent yet".to_owned(),
    }
}

fn show(channel: &ChannelInfo) {
    output::facts(&[
        ("name", channel.name.clone()),
        ("kind", channel.kind.clone()),
        ("target", channel.target.clone()),
        ("events", events(channel)),
        ("private", channel.allow_private.to_string()),
        ("state", stands(channel)),
        ("failed", format!("{} attempts", channel.failed_attempts)),
        ("delivered", or_dash(channel.delivered_at.as_ref())),
    ]);
}

async fn test(api: &Client, json: bool, name: &str) -> Result<Exit, CliError> {
    let test: ChannelTest = api.act(&["channels", name, "test"]).await?;
    if json {
        output::json(&test)?;
    }
    match test.error {
        None => {
            if !json {
                output::note("The test has arrived.");
            }
            Ok(Exit::Done)
        }
        Some(error) => {
            let text = format!("the test did not arrive: {error}");
            Err(CliError::Failed(plain(&text)))
        }
    }
}

async fn deliveries(api: &Client, json: bool, name: &str, limit: u32) -> Result<(), CliError> {
    let limit = limit.to_string();
    let query = [("limit", limit.as_str())];
    let found: Vec<Delivery> = api
        .get_with(&["channels", name, "deliveries"], &query)
        .await?;
    if json {
        return output::json(&found);
    }
    let row = |delivery: Delivery| {
        let more = match (&delivery.next_at, &delivery.last_error) {
            (Some(at), Some(error)) => format!("{error}; again {at}"),
            (_, error) => or_dash(error.as_ref()),
        };
        let number = delivery.id.to_string();
        vec![
            number,
            delivery.created_at,
            delivery.summary,
            delivery.state,
            more,
        ]
    };
    let rows = found.into_iter().map(row).collect();
    output::table(
        &["NUMBER", "AT", "WHAT", "STATE", "WHY"],
        rows,
        "Nothing was sent yet.",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_servers_have_a_port_or_none() {
        let read = |text: &str| host_and_port(text).ok();
        assert_eq!(
            read("mail.example.com"),
            Some(("mail.example.com".into(), None))
        );
        assert_eq!(
            read("mail.example.com:25"),
            Some(("mail.example.com".into(), Some(25)))
        );
        assert_eq!(read("[::1]:25"), Some(("[::1]".into(), Some(25))));
        assert_eq!(read("::1"), Some(("::1".into(), None)));
        assert_eq!(read("mail:smtp"), None);
    }
}
