//! Terms with their types: columns looked up, literals read, casts done.

use std::borrow::Cow;
use std::sync::Arc;

use super::array;
use super::error::{ExpressionError, ExpressionErrorKind};
use super::input::input;
use super::node::{Bound, Span, Term, TermKind, TypeName, claim_name};
use super::numeric::Numeric;
use super::resolve::common_type;
use super::scope::Scope;
use super::tree::{Column, Constant, Operand};
use super::types::{Category, Scalar, Shape};
use super::value::{Class, Unreadable, read};
use crate::change::{EnumLabels, TypeKind};

/// How much of a literal a message shows.
const SHOWN_CHARACTERS_MAX: usize = 40;

/// Texts of an array's elements; null for null.
pub(super) type Items = Box<[Option<Box<str>>]>;

/// A term, as far as it is known without the other side of its operator.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) kind: Kind,
    pub(super) span: Span,
    /// Whether `collate "C"` was asked for.
    pub(super) collate_c: bool,
    /// The claim that it comes from: at fault where it can't be cast.
    claim: Option<String>,
    labels: Option<Arc<EnumLabels>>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Column(Column),
    ArrayColumn {
        index: usize,
        name: Arc<str>,
        element: Scalar,
    },
    /// Of a type that nothing can be asked about but whether it is null.
    OtherColumn {
        index: usize,
        name: Arc<str>,
        ty: Arc<str>,
    },
    /// A literal in quotes, or a claim.
    Unknown(Option<Box<str>>),
    /// A claim that is a list.
    List(Items),
    /// As the type prints it.
    Constant(Scalar, Option<Box<str>>),
    Array(Scalar, Option<Items>),
}

impl Typed {
    /// The type of a single value; `None` for an untyped literal.
    pub(super) fn scalar(&self) -> Result<Option<Scalar>, ExpressionError> {
        let fail = |what: &str, help: &str| Err(ExpressionError::unsupported(self.span.range(), what, Some(help)));
        match &self.kind {
            Kind::Column(column) => Ok(Some(column.scalar)),
            Kind::Constant(scalar, _) => Ok(Some(*scalar)),
            Kind::Unknown(_) => Ok(None),
            Kind::List(_) => Err(self.at_fault("is a list, and a single value is wanted")),
            Kind::ArrayColumn { .. } | Kind::Array(..) => {
                fail("an array as a whole", "ask for one of its elements: `'a' = any (tags)`")
            }
            Kind::OtherColumn { ty, .. } => fail(
                &format!("the value of a column of type {ty}"),
                "they can be asked whether they are null; keep what is to be compared in a column of its own",
            ),
        }
    }

    pub(super) const fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Unknown(None) | Kind::Constant(_, None))
    }

    /// Brought to what it is compared as; `scalar` is what an untyped literal becomes. `None` for null.
    pub(super) fn operand(&self, scalar: Scalar, class: Class) -> Result<Option<Operand>, ExpressionError> {
        Ok(match &self.kind {
            Kind::Column(column) => Some(Operand::Column(Column { class, ..column.clone() })),
            Kind::Unknown(Some(text)) => Some(Operand::Constant(self.literal(scalar, class, text)?)),
            Kind::Constant(own, Some(text)) => Some(Operand::Constant(self.read(*own, class, text.clone())?)),
            _ => None,
        })
    }

    /// The elements of an array that is no column's, `scalar` being what untyped ones become; `None` for null.
    pub(super) fn items(&self, scalar: Scalar, class: Class) -> Result<Option<ConstantItems>, ExpressionError> {
        let items = match &self.kind {
            Kind::Array(_, None) | Kind::Unknown(None) => return Ok(None),
            Kind::Array(own, Some(items)) => {
                return self.each_item(*own, items, |text| self.read(*own, class, text.into())).map(Some);
            }
            Kind::List(items) => Cow::Borrowed(items),
            Kind::Unknown(Some(_)) if self.claim.is_some() => return Err(self.at_fault("is no list")),
            Kind::Unknown(Some(text)) => Cow::Owned(self.array_literal(text)?),
            _ => {
                let help = "for one value write `=`; for several `in (…)`".to_owned();
                let message = "an array is wanted here";
                return Err(ExpressionError::of_type(self.span.range(), message, Some(help)));
            }
        };
        self.each_item(scalar, &items, |text| self.literal(scalar, class, text)).map(Some)
    }

    fn each_item(
        &self,
        element: Scalar,
        items: &[Option<Box<str>>],
        constant: impl Fn(&str) -> Result<Constant, ExpressionError>,
    ) -> Result<ConstantItems, ExpressionError> {
        let null = items.iter().any(Option::is_none);
        let constants: Result<Vec<_>, _> = items.iter().flatten().map(|text| constant(text)).collect();
        Ok(ConstantItems { element, constants: constants?, null })
    }

    fn array_literal(&self, text: &str) -> Result<Items, ExpressionError> {
        let malformed = || self.no_literal("an array", text, "write it as '{a,b}'");
        let items = array::elements(text).ok_or_else(malformed)?;
        Ok(items.into_iter().map(|item| item.map(|item| item.into_owned().into())).collect())
    }

    /// An untyped literal as a value of the type.
    pub(super) fn literal(&self, scalar: Scalar, class: Class, text: &str) -> Result<Constant, ExpressionError> {
        self.check_label(scalar, text)?;
        let printed = input(scalar, text).map_err(|how| self.no_literal(scalar.name(), text, how))?;
        self.read(scalar, class, printed)
    }

    fn check_label(&self, scalar: Scalar, text: &str) -> Result<(), ExpressionError> {
        let (Scalar::Enum(oid), Some(labels)) = (scalar, &self.labels) else { return Ok(()) };
        let Some(ty) = labels.lacking(oid, text) else { return Ok(()) };
        if self.claim.is_some() {
            return Err(self.at_fault(&format!("is no label of enum {}", ty.name)));
        }
        let message = format!("`{}` is no label of enum {}", shown(text), ty.name);
        let help = Some(format!("its labels: {}", ty.listed()));
        Err(ExpressionError::new(self.span.range(), ExpressionErrorKind::Literal { message, help }))
    }

    /// What the type prints, as a value.
    pub(super) fn read(&self, scalar: Scalar, class: Class, text: Box<str>) -> Result<Constant, ExpressionError> {
        let unread = |error| match error {
            Unreadable::OutOfRange => self.no_literal("double precision", &text, "a number that it has room for"),
            Unreadable::Malformed(_) => self.no_literal(scalar.name(), &text, "as Postgres prints it"),
        };
        let value = read(scalar, class, text.as_bytes()).map_err(unread)?.into_owned();
        Ok(Constant { scalar, value, text })
    }

    /// A claim's value is never shown.
    fn no_literal(&self, ty: &str, text: &str, how: &str) -> ExpressionError {
        if self.claim.is_some() {
            return self.at_fault(&format!("can't be cast to {ty}"));
        }
        let message = format!("`{}` can't be read as {ty}", shown(text));
        let help = match how {
            _ if how.starts_with("write") => how.to_owned(),
            _ if how.starts_with("a ") || how.starts_with("an ") => format!("write {how}"),
            _ => format!("write it {how}"),
        };
        ExpressionError::new(self.span.range(), ExpressionErrorKind::Literal { message, help: Some(help) })
    }

    pub(super) fn claim(&self) -> Option<&str> {
        self.claim.as_deref()
    }

    fn at_fault(&self, message: &str) -> ExpressionError {
        let path = self.claim.clone().unwrap_or_default();
        ExpressionError::new(self.span.range(), ExpressionErrorKind::Claim { path, message: message.to_owned() })
    }

    /// `…::type` and its kin.
    fn cast(self, to: TypeName) -> Result<Self, ExpressionError> {
        let kind = match (&self.kind, to.array) {
            (Kind::Unknown(text), false) => {
                let text = text.as_deref().map(|text| self.literal(to.scalar, Class::Raw, text)).transpose()?;
                Kind::Constant(to.scalar, text.map(|constant| constant.text))
            }
            (Kind::Unknown(_) | Kind::List(_), true) => {
                let items = self.items(to.scalar, Class::Raw)?;
                Kind::Array(to.scalar, items.map(ConstantItems::into_texts))
            }
            (Kind::Array(from, _), true) if *from == to.scalar => self.kind,
            (Kind::Constant(from, text), false) => {
                let cast = text.as_deref().map(|text| cast_constant(*from, to.scalar, text)).transpose();
                Kind::Constant(to.scalar, cast.map_err(|()| self.no_cast(from.name(), to))?)
            }
            (Kind::Column(column), false) if casts_column(column, to.scalar) => {
                Kind::Column(Column { scalar: to.scalar, ..column.clone() })
            }
            (Kind::Column(column), _) => return Err(self.no_cast(column.scalar.name(), to)),
            (Kind::Array(from, _) | Kind::ArrayColumn { element: from, .. }, _) => {
                return Err(self.no_cast(&Shape::Array(*from).name(), to));
            }
            (Kind::Constant(from, _), true) => return Err(self.no_cast(from.name(), to)),
            (Kind::OtherColumn { ty, .. }, _) => return Err(self.no_cast(ty, to)),
            (Kind::List(_), false) => return Err(self.at_fault("is a list, and a single value is wanted")),
        };
        Ok(Self { kind, ..self })
    }

    fn no_cast(&self, from: &str, to: TypeName) -> ExpressionError {
        let to = if to.array { Shape::Array(to.scalar) } else { Shape::Scalar(to.scalar) };
        let help = "columns can be cast to text, and numbers to wider ones: cast the other side, or keep the value in a \
                    generated column";
        ExpressionError::unsupported(self.span.range(), format!("a cast from {from} to {}", to.name()), Some(help))
    }
}

/// An array's constants, and whether null is among them.
#[derive(Debug, Clone)]
pub(super) struct ConstantItems {
    pub(super) element: Scalar,
    pub(super) constants: Vec<Constant>,
    pub(super) null: bool,
}

impl ConstantItems {
    /// Where null stands makes no difference.
    fn into_texts(self) -> Items {
        let texts = self.constants.into_iter().map(|constant| Some(constant.text));
        texts.chain(self.null.then_some(None)).collect()
    }
}

/// Looks up and reads a term.
pub(super) fn typed(term: &Term, scope: &Scope<'_>) -> Result<Typed, ExpressionError> {
    let mut claim = None;
    let fail = |kind| Err(ExpressionError::new(term.span.range(), kind));
    let kind = match &term.kind {
        TermKind::Column(name) => match column(name, scope) {
            Some(kind) => kind,
            None => {
                let similar = scope.similar(name).map(str::to_owned);
                return fail(ExpressionErrorKind::UnknownColumn { name: name.to_string(), similar });
            }
        },
        TermKind::Claim(path) => return fail(ExpressionErrorKind::Open { path: claim_name(path) }),
        TermKind::Bound { path, value } => {
            claim = Some(claim_name(path));
            match value {
                Bound::Null => Kind::Unknown(None),
                Bound::Text(text) => Kind::Unknown(Some(text.clone())),
                Bound::List(items) => Kind::List(items.clone()),
                Bound::Structured => {
                    let (path, message) = (claim_name(path), "is neither a single value nor a list of them".to_owned());
                    return fail(ExpressionErrorKind::Claim { path, message });
                }
            }
        }
        TermKind::Null => Kind::Unknown(None),
        TermKind::Boolean(truth) => Kind::Constant(Scalar::Bool, Some(if *truth { "t" } else { "f" }.into())),
        TermKind::Number(digits) => number(digits, &term.span)?,
        TermKind::Unknown(text) => Kind::Unknown(Some(text.clone())),
        TermKind::Array(items) => array_constructor(term, items, scope)?,
        TermKind::Cast { operand, to } => {
            return Ok(Typed { span: term.span.clone(), ..typed(operand, scope)?.cast(*to)? });
        }
        TermKind::CollateC(operand) => return collated(term, typed(operand, scope)?),
    };
    Ok(Typed { kind, span: term.span.clone(), collate_c: false, claim, labels: scope.labels().cloned() })
}

/// As much of a literal as a message shows.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn column(name: &str, scope: &Scope<'_>) -> Option<Kind> {
    let (index, ty) = scope.find(name)?;
    let name: Arc<str> = name.into();
    Some(match Shape::of(ty) {
        Some(Shape::Scalar(scalar)) => Kind::Column(Column { index, name, source: scalar, scalar, class: Class::Raw }),
        Some(Shape::Array(element)) => Kind::ArrayColumn { index, name, element },
        // A row of nulls is null, too, which its text doesn't tell at once.
        None if matches!(ty.kind, TypeKind::Composite { .. }) => {
            Kind::OtherColumn { index, name, ty: "composite".into() }
        }
        None => Kind::OtherColumn { index, name, ty: Arc::clone(&ty.name) },
    })
}

/// `integer` if it has room, else `bigint`, else `numeric`.
fn number(digits: &str, span: &Span) -> Result<Kind, ExpressionError> {
    let integer = digits.parse::<i64>().ok();
    let scalar = match integer {
        Some(integer) if i32::try_from(integer).is_ok() => Scalar::Int4,
        Some(_) => Scalar::Int8,
        None => Scalar::Numeric,
    };
    let printed = input(scalar, digits).map_err(|_| {
        let message = format!("`{digits}` is out of range for type numeric");
        ExpressionError::new(span.range(), ExpressionErrorKind::Literal { message, help: None })
    })?;
    Ok(Kind::Constant(scalar, Some(printed)))
}

/// `array[…]` of constants; where all are untyped it is one of texts.
fn array_constructor(term: &Term, items: &[Term], scope: &Scope<'_>) -> Result<Kind, ExpressionError> {
    let items = items.iter().map(|item| typed(item, scope)).collect::<Result<Vec<_>, _>>()?;
    let fail =
        |message: &str, help: &str| Err(ExpressionError::of_type(term.span.range(), message, Some(help.to_owned())));
    if items.is_empty() {
        return fail("the type of an empty array isn't known", "say it: `'{}'::text[]`");
    }
    if items.iter().any(|item| matches!(item.kind, Kind::Column(_))) {
        return fail("an array of columns can't be made here", "join comparisons with `or`");
    }
    let scalars = items.iter().map(Typed::scalar).collect::<Result<Vec<_>, _>>()?;
    let Some(element) = common_type(&scalars) else {
        return fail("the elements of this array are of different types", "cast them to one");
    };
    let texts = items.iter().map(|item| item.text_as(element)).collect::<Result<_, _>>()?;
    Ok(Kind::Array(element, Some(texts)))
}

impl Typed {
    /// A constant's text as a value of a type that it casts to; `None` for null.
    pub(super) fn text_as(&self, to: Scalar) -> Result<Option<Box<str>>, ExpressionError> {
        match &self.kind {
            Kind::Unknown(Some(text)) => Ok(Some(self.literal(to, Class::Raw, text)?.text)),
            Kind::Constant(from, Some(text)) => {
                let cast = cast_constant(*from, to, text);
                cast.map(Some).map_err(|()| self.no_cast(from.name(), TypeName { scalar: to, array: false }))
            }
            _ => Ok(None),
        }
    }
}

fn collated(term: &Term, operand: Typed) -> Result<Typed, ExpressionError> {
    let collatable = match operand.scalar()? {
        None => true,
        Some(scalar) => scalar.category() == Category::String,
    };
    if !collatable {
        return Err(ExpressionError::of_type(term.span.range(), "only texts have a collation", None));
    }
    Ok(Typed { span: term.span.clone(), collate_c: true, ..operand })
}

/// Whether a column's value can be compared as one of the other type: without loss, and without ever failing.
fn casts_column(column: &Column, to: Scalar) -> bool {
    let from = column.scalar;
    if column.source != from {
        // A cast of a cast: only what changes nothing.
        return from == to;
    }
    match to {
        Scalar::Text | Scalar::Varchar => true,
        Scalar::Int4 | Scalar::Int8 | Scalar::Numeric | Scalar::Float8 | Scalar::Timestamp | Scalar::TimestampTz => {
            from.casts_to(to)
        }
        _ => from == to,
    }
}

/// A typed constant as a constant of another type, where nothing is lost.
fn cast_constant(from: Scalar, to: Scalar, text: &str) -> Result<Box<str>, ()> {
    let numeric = |scalar: Scalar| scalar.category() == Category::Numeric;
    let string = |scalar: Scalar| scalar.category() == Category::String;
    let exact = match (from, to) {
        _ if from == to => true,
        (_, Scalar::Int2 | Scalar::Int4 | Scalar::Int8) if numeric(from) => {
            return Numeric::parse(text).filter(Numeric::is_integral).and_then(|_| input(to, text).ok()).ok_or(());
        }
        (Scalar::Float4 | Scalar::Float8, Scalar::Numeric) => false,
        (Scalar::Float4, Scalar::Float8) | (Scalar::Float8, Scalar::Float4) => false,
        _ if numeric(from) && numeric(to) => true,
        (Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Uuid | Scalar::Date, Scalar::Text | Scalar::Varchar) => {
            true
        }
        (Scalar::Text | Scalar::Varchar, _) if string(to) => true,
        (Scalar::Date, Scalar::Timestamp) => {
            return Ok(format!("{text} 00:00:00").into()).and_then(|it: Box<str>| input(to, &it).map_err(|_| ()));
        }
        (Scalar::Date | Scalar::Timestamp, Scalar::TimestampTz) => true,
        (Scalar::Cidr, Scalar::Inet) => true,
        _ => false,
    };
    if exact { input(to, text).map_err(|_| ()) } else { Err(()) }
}
