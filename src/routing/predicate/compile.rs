//! Resolves an expression's names and types as Postgres would, and works out what is constant.

use super::compiled::Predicate;
use super::error::{ExpressionError, ExpressionErrorKind};
use super::node::{Comparison, Escape, Node, Term};
use super::operand::{ConstantItems, Kind, Typed, typed};
use super::pattern::Pattern;
use super::resolve::{Comparing, Order, common_type, comparing};
use super::scope::Scope;
use super::tree::{ArrayColumn, Column, Items, Operand, Test};
use super::types::{Category, Scalar};
use super::value::Class;

/// All that is wrong, in the order of the text; never empty.
type Compiled<T> = Result<T, Vec<ExpressionError>>;

pub(super) fn compile(node: &Node, scope: &Scope<'_>) -> Compiled<Predicate> {
    Compiler { scope }.node(node).map(Predicate::new)
}

pub(super) fn first(errors: Vec<ExpressionError>) -> ExpressionError {
    let nothing = || ExpressionError::unsupported(0..0, "this", None);
    errors.into_iter().next().unwrap_or_else(nothing)
}

struct Compiler<'s> {
    scope: &'s Scope<'s>,
}

impl Compiler<'_> {
    fn node(&self, node: &Node) -> Compiled<Test> {
        let test = match node {
            Node::And(nodes) => each(nodes, |node| self.node(node)).map(Test::and)?,
            Node::Or(nodes) => each(nodes, |node| self.node(node)).map(Test::or)?,
            Node::Not(node) => self.node(node)?.negated(),
            Node::Is { operand, truth, negated } => {
                Test::Is { test: Box::new(self.node(operand)?), truth: *truth, negated: *negated }
            }
            Node::Null { operand, negated } => null(self.term(operand)?, *negated)?,
            Node::Compare { op, left, right } => {
                let (left, right) = self.both(left, right)?;
                compare(*op, &left, &right)?
            }
            Node::Distinct { left, right, negated } => {
                let (left, right) = self.both(left, right)?;
                distinct(left, right, *negated)?
            }
            Node::In { operand, list, negated } => {
                let any = self.in_list(operand, list)?;
                if *negated { any.negated() } else { any }
            }
            Node::Like { operand, pattern, escape, insensitive, negated } => {
                let (operand, pattern) = self.both(operand, pattern)?;
                like(&operand, &pattern, *escape, *insensitive, *negated)?
            }
            Node::Quantified { op, left, array, all } => {
                let (left, array) = self.both(left, array)?;
                quantified(*op, &left, &array, *all)?
            }
            Node::Term(term) => truth(&self.term(term)?)?,
        };
        Ok(folded(test))
    }

    fn term(&self, term: &Term) -> Compiled<Typed> {
        typed(term, self.scope).map_err(|error| vec![error])
    }

    /// Both sides, or what is wrong with either.
    fn both(&self, left: &Term, right: &Term) -> Compiled<(Typed, Typed)> {
        match (self.term(left), self.term(right)) {
            (Ok(left), Ok(right)) => Ok((left, right)),
            (Err(mut errors), Err(more)) => {
                errors.extend(more);
                Err(errors)
            }
            (Err(errors), _) | (_, Err(errors)) => Err(errors),
        }
    }

    /// Several constants are brought to one type and compared with that; a single one, and columns, each by itself.
    fn in_list(&self, operand: &Term, list: &[Term]) -> Compiled<Test> {
        let operand = self.term(operand)?;
        let items = list.iter().map(|item| self.term(item)).collect::<Compiled<Vec<_>>>()?;
        let (columns, constants): (Vec<Typed>, Vec<Typed>) =
            items.into_iter().partition(|item| matches!(item.kind, Kind::Column(_)));
        let equal = |item: &Typed| compare(Comparison::Equal, &operand, item).map(folded);
        let mut any = each(&columns, equal)?;
        match in_common(&operand, &constants)? {
            Some(test) => any.push(folded(test)),
            None => any.extend(each(&constants, equal)?),
        }
        Ok(Test::or(any))
    }
}

/// Everything that is wrong with any of them.
fn each<N>(nodes: &[N], compile: impl Fn(&N) -> Compiled<Test>) -> Compiled<Vec<Test>> {
    let (mut tests, mut errors) = (Vec::with_capacity(nodes.len()), Vec::new());
    for node in nodes {
        match compile(node) {
            Ok(test) => tests.push(test),
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok(tests) } else { Err(errors) }
}

/// What doesn't depend on the row is worked out now.
fn folded(test: Test) -> Test {
    let mut depends = false;
    test.each_column(&mut |_, _| depends = true);
    if depends {
        return test;
    }
    let no_row: &[Option<&str>] = &[];
    test.evaluate(no_row).ok().and_then(|truths| truths.single()).map_or(test, Test::Constant)
}

fn fail<T>(error: ExpressionError) -> Compiled<T> {
    Err(vec![error])
}

fn scalar(typed: &Typed) -> Compiled<Option<Scalar>> {
    typed.scalar().map_err(|error| vec![error])
}

/// A truth value by itself.
fn truth(term: &Typed) -> Compiled<Test> {
    if !matches!(scalar(term)?, None | Some(Scalar::Bool)) {
        let help = "compare it with something: `… = …`".to_owned();
        return fail(ExpressionError::of_type(term.span.range(), "a truth value is wanted here", Some(help)));
    }
    match term.operand(Scalar::Bool, Class::Bool).map_err(|error| vec![error])? {
        None => Ok(Test::Constant(None)),
        Some(operand) => Ok(Test::Holds(operand)),
    }
}

fn null(operand: Typed, negated: bool) -> Compiled<Test> {
    match operand.kind {
        Kind::Column(Column { index, name, .. })
        | Kind::ArrayColumn { index, name, .. }
        | Kind::OtherColumn { index, name, .. }
            if !operand.is_row() =>
        {
            Ok(Test::Null { index, name, negated })
        }
        Kind::OtherColumn { .. } => {
            fail(ExpressionError::unsupported(operand.span.range(), "`is null` of a composite value", None))
        }
        _ => Ok(Test::Constant(Some(operand.is_null() != negated))),
    }
}

fn operator(op: Comparison, left: &Typed, right: &Typed) -> Compiled<Comparing> {
    resolved(op, left, scalar(left)?, right, scalar(right)?)
}

/// Which operator it is, and whether it is one that can be followed here.
fn resolved(
    op: Comparison,
    left: &Typed,
    left_type: Option<Scalar>,
    right: &Typed,
    right_type: Option<Scalar>,
) -> Compiled<Comparing> {
    let span = left.span.to(&right.span).range();
    let Some(comparing) = comparing(left_type, right_type) else {
        return fail(no_operator(span, op, left_type, right_type));
    };
    let collate_c = left.collate_c || right.collate_c;
    match comparing.order() {
        Order::OfCollation if op.orders() && !collate_c => fail(ExpressionError::unsupported(
            span,
            format!("`{}` of texts, whose order depends on the collation,", op.symbol()),
            Some("ask for the order of bytes: `… collate \"C\"`"),
        )),
        Order::Unknown if op.orders() => fail(ExpressionError::unsupported(
            span,
            format!("`{}` of enums, whose order rows don't tell,", op.symbol()),
            Some("name the labels: `… in ('a', 'b')`"),
        )),
        _ => Ok(comparing),
    }
}

fn no_operator(
    span: std::ops::Range<usize>,
    op: Comparison,
    left: Option<Scalar>,
    right: Option<Scalar>,
) -> ExpressionError {
    let name = |scalar: Option<Scalar>| scalar.map_or("unknown", Scalar::name);
    let is_text = |scalar: Option<Scalar>| scalar.is_some_and(|scalar| scalar.category() == Category::String);
    let help = if is_text(left) != is_text(right) {
        "cast the one that is no text: `id::text`; or write a literal without a type"
    } else {
        "cast a literal or claim to the other side's type"
    };
    let message = format!("operator does not exist: {} {} {}", name(left), op.symbol(), name(right));
    ExpressionError::of_type(span, message, Some(help.to_owned()))
}

fn operands(left: &Typed, right: &Typed, by: Comparing) -> Compiled<(Option<Operand>, Option<Operand>)> {
    let left = left.operand(by.left, by.class).map_err(|error| vec![error])?;
    let right = right.operand(by.right, by.class).map_err(|error| vec![error])?;
    Ok((left, right))
}

fn compare(op: Comparison, left: &Typed, right: &Typed) -> Compiled<Test> {
    let by = operator(op, left, right)?;
    Ok(match operands(left, right, by)? {
        (Some(left), Some(right)) => Test::Compare { op, left, right },
        _ => Test::Constant(None),
    })
}

fn distinct(left: Typed, right: Typed, negated: bool) -> Compiled<Test> {
    match (left.is_null(), right.is_null()) {
        (true, _) => return null(right, !negated),
        (_, true) => return null(left, !negated),
        _ => {}
    }
    let by = operator(Comparison::Equal, &left, &right)?;
    Ok(match operands(&left, &right, by)? {
        (Some(left), Some(right)) => Test::Distinct { left, right, negated },
        _ => Test::Constant(None),
    })
}

/// An `in` of several constants of one type, which is compared with each as `= any` does; none where they have none.
fn in_common(operand: &Typed, constants: &[Typed]) -> Compiled<Option<Test>> {
    if constants.len() < 2 {
        return Ok(None);
    }
    let own = scalar(operand)?;
    let mut types = vec![own];
    for item in constants {
        types.push(scalar(item)?);
    }
    let Some(element) = common_type(&types) else { return Ok(None) };
    let Some(by) = comparing(own, Some(element)) else { return Ok(None) };
    let (mut values, mut null) = (Vec::new(), false);
    for item in constants {
        match item.text_as(element).map_err(|error| vec![error])? {
            None => null = true,
            Some(text) => values.push(item.read(element, by.class, text).map_err(|error| vec![error])?),
        }
    }
    let items = ConstantItems { element, constants: values, null };
    let left = operand.operand(by.left, by.class).map_err(|error| vec![error])?;
    Ok(Some(one_of(Comparison::Equal, left, items, false)))
}

/// `op any (array)`, `op all (array)`.
fn quantified(op: Comparison, left: &Typed, array: &Typed, all: bool) -> Compiled<Test> {
    let element = match &array.kind {
        Kind::ArrayColumn { element, .. } | Kind::Array(element, _) => Some(*element),
        _ => None,
    };
    let by = resolved(op, left, scalar(left)?, array, element)?;
    let operand = left.operand(by.left, by.class).map_err(|error| vec![error])?;
    if let Kind::ArrayColumn { index, name, element } = &array.kind {
        let column = ArrayColumn { index: *index, name: name.clone(), element: *element, class: by.class };
        return Ok(Test::Quantified { op, all, left: operand, items: Items::Column(column) });
    }
    Ok(match array.items(by.right, by.class).map_err(|error| vec![error])? {
        None => Test::Constant(None),
        Some(items) => one_of(op, operand, items, all),
    })
}

/// `= any` and `<> all` of a column find their constant by its order.
fn one_of(op: Comparison, left: Option<Operand>, mut items: ConstantItems, all: bool) -> Test {
    // Whatever is on the left, null included.
    if items.constants.is_empty() && !items.null {
        return Test::Constant(Some(all));
    }
    let found = matches!((op, all), (Comparison::Equal, false) | (Comparison::NotEqual, true));
    match left {
        Some(Operand::Column(column)) if found => {
            items.constants.sort_by(|left, right| left.value.compare(&right.value));
            items.constants.dedup_by(|left, right| left.value.compare(&right.value).is_eq());
            Test::OneOf { column, items, negated: all }
        }
        left => Test::Quantified { op, all, left, items: Items::Constants(items) },
    }
}

fn like(operand: &Typed, pattern: &Typed, escape: Escape, insensitive: bool, negated: bool) -> Compiled<Test> {
    let span = operand.span.to(&pattern.span).range();
    let is_text = |scalar: Option<Scalar>| scalar.is_none_or(|scalar| scalar.category() == Category::String);
    let (own, of_pattern) = (scalar(operand)?, scalar(pattern)?);
    if !is_text(own) || !is_text(of_pattern) {
        let message = format!("`like` is about texts, and this is {}", own.or(of_pattern).map_or("", Scalar::name));
        return fail(ExpressionError::of_type(span, message, Some("cast it: `id::text like …`".to_owned())));
    }
    if matches!(pattern.kind, Kind::Column(_)) {
        return fail(ExpressionError::unsupported(pattern.span.range(), "a column as a pattern", None));
    }
    if insensitive && !operand.collate_c && !pattern.collate_c {
        let help =
            "under collation \"C\" it is the ASCII letters whose case doesn't count: `name collate \"C\" ilike …`";
        let what = "`ilike`, which depends on the collation,";
        return fail(ExpressionError::unsupported(span, what, Some(help)));
    }
    // A cast to text has lost the blanks of a `char(n)`, the value itself has not.
    let class = if own == Some(Scalar::Bpchar) { Class::Raw } else { Class::Text };
    let text = pattern.text_as(Scalar::Text).map_err(|error| vec![error])?;
    let operand = operand.operand(Scalar::Text, class).map_err(|error| vec![error])?;
    let (Some(operand), Some(text)) = (operand, text) else { return Ok(Test::Constant(None)) };
    match Pattern::new(&text, escape, insensitive) {
        Some(pattern) => Ok(Test::Like { operand, pattern, negated }),
        None => fail(pattern.refused("ends with its escape character")),
    }
}

impl Typed {
    fn is_row(&self) -> bool {
        matches!(&self.kind, Kind::OtherColumn { ty, .. } if &**ty == "composite")
    }

    /// A literal that is wrong in a way of its own, or the claim that it comes from.
    fn refused(&self, message: &str) -> ExpressionError {
        let kind = match self.claim() {
            Some(path) => ExpressionErrorKind::Claim { path: path.to_owned(), message: message.to_owned() },
            None => ExpressionErrorKind::Literal { message: format!("this pattern {message}"), help: None },
        };
        ExpressionError::new(self.span.range(), kind)
    }
}
