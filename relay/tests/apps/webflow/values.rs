//! What a field takes, and what it makes of it.

use serde_json::{Map, Value};

use super::schema::{Collection, Field, slugged};
use super::{Webflow, invalid};
use crate::host::World;
use crate::host::call::Answer;
use crate::host::clock::{iso, parse};

/// Values by the slugs of their fields; what is empty is not there.
pub(super) type Cells = Map<String, Value>;

impl Collection {
    /// Checks what is to be set; null empties. References are checked by [`Webflow::check_references`].
    pub fn take(&self, given: &Value, world: &World) -> Result<Cells, Answer> {
        let mut taken = Cells::new();
        for (slug, value) in given.as_object().into_iter().flatten() {
            let field = self.field(slug).filter(|field| field.is_editable);
            let field = field.ok_or_else(|| invalid(slug, "Field not described in schema"))?;
            taken.insert(slug.clone(), take(field, value, world)?);
        }
        Ok(taken)
    }

    /// A slug that no other item has.
    pub fn free_slug(&self, name: &str, reserved: &[String], world: &mut World) -> String {
        let slug = slugged(name);
        let slug = if slug.is_empty() {
            "item".to_owned()
        } else {
            slug
        };
        match self.is_taken(&slug, "") || reserved.contains(&slug) {
            true => format!("{slug}-{}", world.ids.hex(5)),
            false => slug,
        }
    }

    /// Whether another item, or a live copy that is left over, has the slug.
    pub fn is_taken(&self, slug: &str, id: &str) -> bool {
        let holder = self.slugs.get(slug);
        holder.is_some_and(|holder| holder != id) || self.ghosts.iter().any(|ghost| ghost == slug)
    }
}

fn take(field: &Field, value: &Value, world: &World) -> Result<Value, Answer> {
    let wrong = |what: &str| invalid(&field.slug, format!("Expected value to be {what}"));
    if value.is_null() || *value == "" {
        return match field.is_required {
            true => Err(invalid(&field.slug, "Field is required")),
            false => Ok(Value::Null),
        };
    }
    let text = || value.as_str().ok_or_else(|| wrong("a string"));
    match field.kind.as_str() {
        "Number" => {
            let number = value.as_f64().ok_or_else(|| wrong("a number"))?;
            let is_whole = field.validations["format"] == "integer";
            match is_whole && number.fract() != 0.0 {
                true => Err(wrong("an integer")),
                false => Ok(value.clone()),
            }
        }
        "Switch" => match value.is_boolean() {
            true => Ok(value.clone()),
            false => Err(wrong("a boolean")),
        },
        "DateTime" => {
            let at = parse(text()?).ok_or_else(|| wrong("a date"))?;
            Ok(iso(at).into())
        }
        "Option" => {
            let id = text()?;
            let is_known = field.options().iter().any(|(known, _)| *known == id);
            match is_known {
                true => Ok(value.clone()),
                false => Err(wrong("one of the options")),
            }
        }
        "MultiReference" => match value.is_array() {
            true => Ok(value.clone()),
            false => Err(wrong("a list of item ids")),
        },
        "Image" | "File" | "MultiImage" => Ok(value.clone()),
        "Email" if !text()?.contains('@') => Err(wrong("an email address")),
        "RichText" if world.traps.is_on("html-rewritten") => Ok(rewritten(text()?).into()),
        _ => plain(field, text()?, world),
    }
}

fn plain(field: &Field, text: &str, world: &World) -> Result<Value, Answer> {
    let max = field.validations["maxLength"].as_u64().unwrap_or(u64::MAX);
    if text.chars().count() as u64 > max {
        return Err(invalid(&field.slug, format!("Must be at most {max} long")));
    }
    if world.traps.is_on("refuses") && text.starts_with("refuse") {
        return Err(invalid(&field.slug, "The value is not allowed"));
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if field.slug == "slug" && !text.chars().all(is_word) {
        let message = "must be alphanumerical and not contain any spaces or special characters";
        return Err(invalid(&field.slug, message));
    }
    Ok(text.into())
}

/// `<p>` becomes `<p id="">`.
fn rewritten(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        let name_end = tag[1..].find(|c: char| !c.is_ascii_alphanumeric());
        let name_end = name_end.map_or(tag.len(), |end| end + 1);
        out.push_str(&tag[..name_end]);
        if name_end > 1 && tag[name_end..].starts_with('>') {
            out.push_str(" id=\"\"");
        }
        rest = &tag[name_end..];
    }
    out.push_str(rest);
    out
}

impl Webflow {
    /// What is referred to must be there.
    pub(super) fn check_references(
        &self,
        collection: &Collection,
        given: &Value,
    ) -> Result<(), Answer> {
        for (slug, value) in given.as_object().into_iter().flatten() {
            let field = collection.field(slug);
            let Some(field) = field.filter(|field| field.kind.ends_with("Reference")) else {
                continue;
            };
            let target = self
                .collections
                .iter()
                .find(|of| field.validations["collectionId"] == of.id.as_str());
            let ids = match value {
                Value::Array(ids) => ids.as_slice(),
                Value::Null => &[],
                one => std::slice::from_ref(one),
            };
            let is_there = |id: &Value| {
                let found = target.zip(id.as_str()).map(|(of, id)| of.item(id));
                found.flatten().is_some()
            };
            if !ids.iter().all(is_there) {
                return Err(invalid(slug, "Referenced item not found"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_get_ids_and_texts_stay() {
        let html = "<h3>A</h3><p>1 < 2 <a href=\"x\">b</a><br></p>";
        let expected = "<h3 id=\"\">A</h3><p id=\"\">1 < 2 <a href=\"x\">b</a><br id=\"\"></p>";
        assert_eq!(rewritten(html), expected);
        assert_eq!(rewritten(expected), expected);
    }
}
