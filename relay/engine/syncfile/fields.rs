//! The fields of a table pair: columns, words, and expressions in their place.

use tidegate_sync::model::{BySide, Side};
use tidegate_sync::policy::{Direction, FieldPair};
use toml::Spanned;

use super::{DIRECTION, RawField, RawScalar, RawThrough, Reader};
use crate::endpoint::Through;
use crate::engine::forms::{FieldForm, Scalar};
use crate::place::FileError;

impl Reader<'_> {
    pub(super) fn fields(
        &self,
        raw: &Spanned<Vec<Spanned<RawField>>>,
    ) -> Result<(Vec<FieldPair>, Vec<FieldForm>), FileError> {
        let mut fields: Vec<FieldPair> = Vec::with_capacity(raw.get_ref().len());
        let mut forms = Vec::with_capacity(raw.get_ref().len());
        for spanned in raw.get_ref() {
            let raw = spanned.get_ref();
            let ends = (raw.left.as_ref(), raw.left_value.as_ref());
            let left = self.end(spanned, ends, raw.left_links.as_ref())?;
            let ends = (raw.right.as_ref(), raw.right_value.as_ref());
            let right = self.end(spanned, ends, raw.right_links.as_ref())?;
            let is_left_taken = fields.iter().any(|one| one.left == left.name);
            let is_right_taken = fields.iter().any(|one| one.right == right.name);
            for (side, end, is_taken) in [
                ("left", &left, is_left_taken),
                ("right", &right, is_right_taken),
            ] {
                if is_taken {
                    let message = format!("the {side} field `{}` is mapped twice", end.name);
                    return Err(FileError::at(self.text, end.at.clone(), message));
                }
            }
            let (form, direction) = self.form(spanned, &left, &right)?;
            fields.push(FieldPair {
                left: left.name,
                right: right.name,
                direction,
            });
            forms.push(form);
        }
        Ok((fields, forms))
    }

    /// One end of a field pair: a column, an expression, or a join table.
    fn end(
        &self,
        field: &Spanned<RawField>,
        (column, value): (Option<&Spanned<String>>, Option<&Spanned<String>>),
        links: Option<&Spanned<RawThrough>>,
    ) -> Result<End, FileError> {
        match (column, value, links) {
            (Some(column), None, None) => {
                self.check_filled(column, "a field")?;
                Ok(End {
                    name: column.get_ref().clone(),
                    source: None,
                    through: None,
                    at: column.span(),
                })
            }
            (None, Some(value), None) => {
                self.check_expression(value)?;
                Ok(End {
                    name: format!("= {}", value.get_ref()),
                    source: Some(value.get_ref().clone()),
                    through: None,
                    at: value.span(),
                })
            }
            (None, None, Some(links)) => self.through(links),
            _ => {
                let message = "expected one of `left`, `left_value` and `left_links`, and one of \
                               `right`, `right_value` and `right_links`";
                Err(self.error(field, message))
            }
        }
    }

    fn through(&self, links: &Spanned<RawThrough>) -> Result<End, FileError> {
        let raw = links.get_ref();
        self.check_filled(&raw.through, "a table")?;
        self.check_filled(&raw.from, "a column")?;
        self.check_filled(&raw.to, "a column")?;
        if raw.from.get_ref() == raw.to.get_ref() {
            let message = "`from` and `to` are two columns of the join table: the keys of this table's \
                           records, and of those that they are linked with";
            return Err(self.error(&raw.to, message));
        }
        Ok(End {
            name: format!("{}.{}", raw.through.get_ref(), raw.to.get_ref()),
            source: None,
            through: Some(Through {
                table: raw.through.get_ref().clone(),
                from: raw.from.get_ref().clone(),
                to: raw.to.get_ref().clone(),
            }),
            at: links.span(),
        })
    }

    fn form(
        &self,
        spanned: &Spanned<RawField>,
        left: &End,
        right: &End,
    ) -> Result<(FieldForm, Direction), FileError> {
        let raw = spanned.get_ref();
        let has_words = raw.values.is_some() || raw.null_left.is_some() || raw.null_right.is_some();
        if let Some(link) = &raw.link {
            let has_expression = left.source.is_some() || right.source.is_some();
            if has_words || has_expression {
                let message = "a link is between two columns, without an expression or a value map";
                return Err(self.error(link, message));
            }
            let direction = self.word(raw.direction.as_ref(), DIRECTION, Direction::default())?;
            let to = self.linked(link)?;
            let through = BySide::new(left.through.clone(), right.through.clone());
            let form = match &through {
                BySide {
                    left: None,
                    right: None,
                } => FieldForm::Link { to },
                _ => FieldForm::Joined { to, through },
            };
            return Ok((form, direction));
        }
        if let Some(links) = raw.left_links.as_ref().or(raw.right_links.as_ref()) {
            let message = "links need `link`, the [[table]] whose records they name, such as \
                           link = \"public.tags\"";
            return Err(self.error(links, message));
        }
        let computed = match (&left.source, &right.source) {
            (None, None) => None,
            (Some(source), None) => Some((Side::Left, source)),
            (None, Some(source)) => Some((Side::Right, source)),
            (Some(_), Some(_)) => {
                let message = "one of the two fields must be a column that can be written";
                return Err(self.error(spanned, message));
            }
        };
        let Some((on, source)) = computed else {
            let direction = self.word(raw.direction.as_ref(), DIRECTION, Direction::default())?;
            let form = if has_words {
                self.words(raw)?
            } else {
                FieldForm::Same
            };
            return Ok((form, direction));
        };
        if has_words {
            let message = "a computed field takes no value map: let the expression say it";
            return Err(self.error(spanned, message));
        }
        let away = match on {
            Side::Left => Direction::LeftToRight,
            Side::Right => Direction::RightToLeft,
        };
        if self.word(raw.direction.as_ref(), DIRECTION, away)? != away {
            let message = "a computed field flows away from its expression only: leave `direction` \
                           out";
            return Err(self.error(spanned, message));
        }
        let source = source.clone();
        Ok((FieldForm::Computed { on, source }, away))
    }

    /// The table pair whose left table the link names.
    fn linked(&self, link: &Spanned<String>) -> Result<BySide<String>, FileError> {
        let named = self.pairs.iter().find(|pair| pair.left == *link.get_ref());
        named.cloned().ok_or_else(|| {
            let known = self.pairs.iter().map(|pair| format!("{:?}", pair.left));
            let known: Vec<String> = known.collect();
            let message = format!(
                "expected the left table of a [[table]] of this file: {}",
                known.join(" or ")
            );
            self.error(link, message)
        })
    }

    /// The words of a value map: one to one.
    fn words(&self, raw: &RawField) -> Result<FieldForm, FileError> {
        let mut values: Vec<(Scalar, Scalar)> = Vec::new();
        for pair in raw.values.iter().flat_map(|values| values.get_ref()) {
            let [left, right] = pair.get_ref().as_slice() else {
                return Err(self.error(pair, VALUES_EXPECTED));
            };
            let (left, right) = (Scalar::from(left), Scalar::from(right));
            if values.iter().any(|(l, r)| *l == left || *r == right) {
                let message = "this value is in the map already: each value has one counterpart";
                return Err(self.error(pair, message));
            }
            values.push((left, right));
        }
        let null = |raw: &Option<Spanned<RawScalar>>| {
            raw.as_ref().map(|value| Scalar::from(value.get_ref()))
        };
        Ok(FieldForm::Words {
            values,
            null: BySide::new(null(&raw.null_left), null(&raw.null_right)),
        })
    }
}

/// One end of a field pair as the file has it.
struct End {
    name: String,
    source: Option<String>,
    through: Option<Through>,
    at: std::ops::Range<usize>,
}

const VALUES_EXPECTED: &str = "expected pairs of a left and a right value, such as \
                               [[\"draft\", \"Draft\"]]";
