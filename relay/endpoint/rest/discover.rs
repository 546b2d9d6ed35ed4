//! What an app has: who one is signed in as, containers, tables, fields, rights.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::client::{Client, NOT_READABLE};
use super::fields::{Field, Places, guessed, listed, of_json_schema};
use super::manifest::{CallKind, Fields, Listing as ListingOf, Rights};
use super::pages::{Listing, Pages};
use super::path;
use super::shape::{Place, id_column};
use super::template::{Variables, prepare};
use crate::endpoint::EndpointError;
use crate::endpoint::catalog::{Catalog, Column, ForeignKey, Problem, Table};
use crate::endpoint::level::{Level, Offer};

/// Everything that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub user: String,
    pub version: String,
    pub tables: Vec<FoundTable>,
}

#[derive(Clone, Debug)]
pub(super) struct FoundTable {
    pub place: Place,
    /// With the record's id, unless a field has its name.
    pub fields: Vec<Field>,
    pub records: u64,
    pub can_read: bool,
    pub can_write: bool,
}

impl FoundTable {
    /// As sync files name it: `container.table`, or the table alone.
    pub(super) fn is_named(&self, name: &str) -> bool {
        let (container, table) = (&self.place.container.1, &self.place.table.1);
        match container.as_str() {
            "" => name == table,
            container => name == format!("{container}.{table}"),
        }
    }
}

/// Looks at everything.
pub(super) async fn discover(client: &Client) -> Result<Found, EndpointError> {
    let (user, version) = who(client).await?;
    let rights = match &client.manifest.rights {
        Some(rights) => Some((rights, granted(client, rights).await?)),
        None => None,
    };
    let mut tables = Vec::new();
    for container in containers(client).await? {
        for (place, item) in listed_tables(client, container).await? {
            let (can_read, can_write) = match &rights {
                Some((rights, granted)) => allowed(rights, granted, &place),
                None => (true, true),
            };
            let records = count(client, &place).await?;
            let fields = fields(client, &place, &item).await?;
            let can_read = can_read && fields.is_some();
            tables.push(FoundTable {
                can_write: can_write && can_read,
                fields: fields.unwrap_or_default(),
                records,
                can_read,
                place,
            });
        }
    }
    tell_apart(&mut tables);
    Ok(Found {
        user,
        version,
        tables,
    })
}

/// The given tables of a container and those that it lists, with what it says of them.
async fn listed_tables(
    client: &Client,
    container: (String, String),
) -> Result<Vec<(Place, Json)>, EndpointError> {
    let listing = &client.manifest.tables;
    let place = |table, modified: Option<&String>| Place {
        container: container.clone(),
        table,
        modified: modified.or(listing.modified.as_ref()).cloned(),
    };
    let given = listing.given.iter().map(|given| {
        let table = (given.id.clone(), given.name.clone());
        (place(table, given.modified.as_ref()), Json::Null)
    });
    let mut tables: Vec<(Place, Json)> = given.collect();
    let Some(asked) = listing_of(listing) else {
        return Ok(tables);
    };
    let variables = Variables::default()
        .with("container", container.0.as_str())
        .with("container_name", container.1.as_str());
    let items = Pages::new(client, Some(&container.0), asked, variables).all();
    let items = match items.await {
        Err(error) if error.code == NOT_READABLE && !tables.is_empty() => Vec::new(),
        other => other?,
    };
    for item in items {
        if let Some(table) = named(listing, &item) {
            tables.push((place(table, None), item));
        }
    }
    Ok(tables)
}

/// Where several tables have one name, each is called by its id as well.
fn tell_apart(tables: &mut [FoundTable]) {
    let mut times: HashMap<(String, String), usize> = HashMap::new();
    for table in tables.iter() {
        *times.entry(named_by(&table.place)).or_default() += 1;
    }
    for table in tables {
        if times[&named_by(&table.place)] > 1 {
            let (id, name) = &mut table.place.table;
            *name = format!("{name} ({id})");
        }
    }
}

fn named_by(place: &Place) -> (String, String) {
    (place.container.0.clone(), place.table.1.clone())
}

/// The user and the app's version.
pub(super) async fn who(client: &Client) -> Result<(String, String), EndpointError> {
    let who = &client.manifest.who;
    let request = prepare(&who.request, &Variables::default());
    let answer = client.ask(CallKind::Read, None, &request).await?;
    let user = path::text(&answer.body, &who.user).ok_or_else(|| {
        let title = &client.manifest.title;
        let text =
            format!("{title} does not know who we are: add the connection with a valid token");
        EndpointError::operator("login-refused", text)
    })?;
    let name = who.user_name.as_ref();
    let user = name
        .and_then(|at| path::text(&answer.body, at))
        .unwrap_or(user);
    let version = who
        .version
        .as_ref()
        .and_then(|at| path::text(&answer.body, at));
    Ok((user, version.unwrap_or_default()))
}

/// Ids and names; one without either where the app has none.
async fn containers(client: &Client) -> Result<Vec<(String, String)>, EndpointError> {
    let Some(listing) = &client.manifest.containers else {
        return Ok(vec![(String::new(), String::new())]);
    };
    let Some(asked) = listing_of(listing) else {
        return Ok(Vec::new());
    };
    let pages = Pages::new(client, None, asked, Variables::default());
    let items = pages.all().await?;
    Ok(items
        .iter()
        .filter_map(|item| named(listing, item))
        .collect())
}

fn listing_of(listing: &ListingOf) -> Option<Listing<'_>> {
    Some(Listing {
        request: listing.request.as_ref()?,
        items: &listing.items,
        paging: &listing.paging,
        size: limits::PAGE,
        kind: CallKind::Read,
    })
}

fn named(listing: &ListingOf, item: &Json) -> Option<(String, String)> {
    let name = path::texts(item, &listing.name).concat();
    Some((path::text(item, &listing.id)?, name)).filter(|(_, name)| !name.is_empty())
}

async fn granted(client: &Client, rights: &Rights) -> Result<Vec<Json>, EndpointError> {
    let listing = Listing {
        request: &rights.request,
        items: &rights.items,
        paging: &rights.paging,
        size: limits::PAGE,
        kind: CallKind::Read,
    };
    Pages::new(client, None, listing, Variables::default())
        .all()
        .await
}

/// Whether the table may be read and written.
fn allowed(rights: &Rights, granted: &[Json], place: &Place) -> (bool, bool) {
    let concerns = |item: &&Json| {
        path::text(item, &rights.container).as_ref() == Some(&place.container.0)
            && path::text(item, &rights.table).is_none_or(|table| table == place.table.0)
    };
    let found = granted.iter().filter(concerns);
    let found = found.filter_map(|item| path::find(item, &rights.rights));
    let names: Vec<&str> = found
        .flat_map(|names| {
            names
                .as_array()
                .map_or(std::slice::from_ref(names), Vec::as_slice)
        })
        .filter_map(Json::as_str)
        .collect();
    let any = |wanted: &[String]| wanted.iter().any(|right| names.contains(&right.as_str()));
    (any(&rights.read), any(&rights.write))
}

/// How many records there are; 0 where the app doesn't tell.
pub(super) async fn count(client: &Client, place: &Place) -> Result<u64, EndpointError> {
    let Some(count) = &client.manifest.tables.count else {
        return Ok(0);
    };
    let request = prepare(&count.request, &place.variables());
    let answer = client
        .call(CallKind::Read, place.container(), &request)
        .await?;
    let number = answer
        .header(&count.header)
        .and_then(|text| text.parse().ok());
    Ok(number.unwrap_or(0))
}

/// What records call the fields that a table has now; none where the table is gone, and `None` where this
/// token may not read them.
pub(super) async fn field_keys(
    client: &Client,
    place: &Place,
) -> Result<Option<HashSet<String>>, EndpointError> {
    let is_asked_alone = matches!(
        client.manifest.fields,
        Fields::Listed {
            request: Some(_),
            ..
        }
    );
    let listed = match is_asked_alone {
        true => listed_fields(client, place, &Json::Null).await?,
        false => {
            let tables = listed_tables(client, place.container.clone()).await?;
            let mut tables = tables.into_iter();
            match tables.find(|(other, _)| other.table.0 == place.table.0) {
                Some((_, item)) => listed_fields(client, place, &item).await?,
                None => Some(Vec::new()),
            }
        }
    };
    Ok(listed.map(|fields| fields.into_iter().map(|field| field.key).collect()))
}

/// `None` where this token may not read them.
async fn fields(
    client: &Client,
    place: &Place,
    item: &Json,
) -> Result<Option<Vec<Field>>, EndpointError> {
    let record = &client.manifest.record;
    let mut fields = match &client.manifest.fields {
        Fields::JsonSchema { at, sample } => match path::find(item, at) {
            Some(schema) if schema.is_object() => of_json_schema(schema),
            _ if *sample > 0 => {
                let list = &client.manifest.list;
                let listing = Listing {
                    request: &list.request,
                    items: &list.items,
                    paging: &list.paging,
                    size: (*sample).min(list.page),
                    kind: CallKind::Read,
                };
                let variables = place.variables();
                let mut pages = Pages::new(client, place.container(), listing, variables);
                let items = pages
                    .next()
                    .await?
                    .map(|page| page.items)
                    .unwrap_or_default();
                let records = items
                    .iter()
                    .filter_map(|item| path::find(item, &record.fields));
                guessed(&records.collect::<Vec<_>>(), &hidden(client))
            }
            _ => Vec::new(),
        },
        Fields::Listed { .. } => match listed_fields(client, place, item).await? {
            Some(fields) => fields,
            None => return Ok(None),
        },
    };
    let id = id_column(record.ids);
    let is_beside = |name: &String| record.fields.is_empty() && *name == record.id;
    fields.retain(|field| !record.hidden.contains(&field.name) && !is_beside(&field.name));
    if !fields.iter().any(|field| field.name == id.name) {
        fields.insert(0, id);
    }
    Ok(Some(fields))
}

/// What the table lists.
async fn listed_fields(
    client: &Client,
    place: &Place,
    item: &Json,
) -> Result<Option<Vec<Field>>, EndpointError> {
    let Fields::Listed {
        request,
        items,
        name,
        id,
        search_id,
        type_at,
        rules,
        read_only,
        unique,
    } = &client.manifest.fields
    else {
        return Ok(Some(Vec::new()));
    };
    let asked = match request {
        Some(request) => {
            let request = prepare(request, &place.variables());
            let asked = client.ask(CallKind::Read, place.container(), &request);
            match asked.await {
                Err(error) if error.code == NOT_READABLE => return Ok(None),
                answer => Some(answer?.body),
            }
        }
        None => None,
    };
    let found = path::members(asked.as_ref().unwrap_or(item), items);
    let places = Places {
        name,
        id: id.as_deref(),
        search_id: search_id.as_deref(),
        type_name: type_at,
        read_only,
        unique: unique.as_deref(),
        texts: client.manifest.record.texts,
    };
    let mut fields = listed(&found, &places, rules);
    let given = client.manifest.tables.given.iter();
    for given in given.filter(|given| given.id == place.table.0) {
        let unique = fields
            .iter_mut()
            .filter(|field| given.unique.contains(&field.name));
        unique.for_each(|field| field.is_unique = true);
    }
    Ok(Some(fields))
}

/// What is beside a record's fields where the record has them itself.
fn hidden(client: &Client) -> Vec<String> {
    let record = &client.manifest.record;
    let mut hidden = record.hidden.clone();
    hidden.push(record.id.clone());
    hidden
}

/// What the engine and people see of it.
pub(super) fn catalog(client: &Client, found: &Found) -> Catalog {
    let title = &client.manifest.title;
    let caveat = "of several changes between two looks only the last is seen";
    let offer = Offer {
        level: Level::Poll,
        obstacles: Vec::new(),
        caveat: Some(caveat.to_owned()),
    };
    Catalog {
        server: format!("{title} {}", found.version).trim_end().to_owned(),
        user: found.user.clone(),
        database: client.host(),
        tables: found
            .tables
            .iter()
            .map(|table| shown(client, table, &found.tables))
            .collect(),
        hidden: Vec::new(),
        allows_ddl: false,
        problems: Vec::new(),
        captures: vec![offer],
    }
}

fn shown(client: &Client, table: &FoundTable, all: &[FoundTable]) -> Table {
    let title = &client.manifest.title;
    let mut problems = Vec::new();
    let name = &table.place.table.1;
    if !table.can_read {
        problems.push(Problem {
            code: "not-readable".into(),
            message: format!("this token may not read {name}"),
            remedy: format!("give its user the right to read it in {title}"),
            blocking: true,
        });
    }
    if !table.can_write {
        problems.push(Problem {
            code: "not-writable".into(),
            message: format!("this token may not write {name}: it can only be a source"),
            remedy: format!("give its user the right to write it in {title}"),
            blocking: false,
        });
    }
    Table {
        schema: schema(table).to_owned(),
        name: name.clone(),
        kind: "table".into(),
        columns: table.fields.iter().map(column).collect(),
        primary_key: vec!["id".into()],
        foreign_keys: table
            .fields
            .iter()
            .filter_map(|field| foreign_key(field, table, all))
            .collect(),
        replica_identity: "default".into(),
        row_estimate: table.records,
        can_read: table.can_read,
        can_write: table.can_write,
        is_owner: true,
        problems,
        ..Table::default()
    }
}

fn schema(table: &FoundTable) -> &str {
    match table.place.container.1.as_str() {
        "" => "public",
        container => container,
    }
}

/// What a field that names records of a table of the same container is to a database.
fn foreign_key(field: &Field, table: &FoundTable, all: &[FoundTable]) -> Option<ForeignKey> {
    let id = field.names.as_ref()?;
    let is_it = |other: &&FoundTable| {
        other.place.container.0 == table.place.container.0 && other.place.table.0 == *id
    };
    let named = all.iter().find(is_it)?;
    Some(ForeignKey {
        columns: vec![field.name.clone()],
        table: format!("{}.{}", schema(named), named.place.table.1),
        references: vec!["id".into()],
    })
}

fn column(field: &Field) -> Column {
    let enum_labels = match &field.field_type {
        tidegate_sync::codec::FieldType::Enum { labels } => labels.clone(),
        _ => Vec::new(),
    };
    Column {
        number: 0,
        name: field.name.clone(),
        type_name: field.type_name.clone(),
        field_type: field.field_type.clone(),
        nullable: !field.required,
        has_default: false,
        generated: field.read_only,
        identity: String::new(),
        enum_labels,
    }
}

mod limits {
    /// Items per page of a list of containers or tables, where the app asks for a number.
    pub(super) const PAGE: u32 = 100;
}
