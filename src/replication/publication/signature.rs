//! What a type's values look like, as a text that can be kept and compared.

use std::fmt::Write;

use crate::change::Oid;
use crate::change::catalogue::{Type, TypeKind};

/// Marks an enum, so that [`enums`] finds it in a signature: no other part has this character outside of quotes.
const ENUM: char = 'e';

/// The oids of a type and of all that it is made of, with the names of fields, which values carry. A type's own name is
/// no part of its values.
pub(crate) fn signature(ty: &Type) -> String {
    let mut out = String::new();
    write_signature(ty, &mut out);
    out
}

fn write_signature(ty: &Type, out: &mut String) {
    // To a string nothing can fail.
    let _infallible = write!(out, "{}", ty.oid);
    if ty.base_oid != ty.oid {
        let _infallible = write!(out, ":{}", ty.base_oid);
    }
    match &ty.kind {
        TypeKind::Array { element, .. } | TypeKind::Vector { element } => {
            out.push('[');
            write_signature(element, out);
            out.push(']');
        }
        TypeKind::Composite { fields } => {
            out.push('(');
            for field in fields {
                let _infallible = write!(out, "{:?} ", field.name);
                write_signature(&field.ty, out);
                out.push(',');
            }
            out.push(')');
        }
        TypeKind::Enum => {
            let _infallible = write!(out, "{ENUM}{}", ty.base_oid);
        }
        _ => {}
    }
}

/// The enums that a type with this signature is made of.
pub(super) fn enums(signature: &str) -> Vec<Oid> {
    let mut found = Vec::new();
    let mut rest = signature.chars().peekable();
    let mut quoted = false;
    while let Some(character) = rest.next() {
        match character {
            '\\' if quoted => drop(rest.next()),
            '"' => quoted = !quoted,
            ENUM if !quoted => {
                let mut digits = String::new();
                while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                    digits.push(digit);
                }
                found.extend(digits.parse::<Oid>());
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::change::catalogue::Field;

    fn ty(oid: Oid, kind: TypeKind) -> Arc<Type> {
        Arc::new(Type { oid, base_oid: oid, name: "t".into(), kind })
    }

    #[test]
    fn a_type_is_known_by_what_it_is_made_of() {
        let mood = ty(17_000, TypeKind::Enum);
        let field = |name: &str, ty| Field { name: name.into(), ty };
        let fields = vec![field("e1 \"(", ty(23, TypeKind::Number)), field("mood", Arc::clone(&mood))];
        let pair = ty(17_100, TypeKind::Composite { fields });
        let pairs = ty(17_101, TypeKind::Array { element: pair, delimiter: b',' });
        assert_eq!(signature(&pairs), r#"17101[17100("e1 \"(" 23,"mood" 17000e17000,)]"#);
        assert_eq!(enums(&signature(&pairs)), [17_000]);
        let domain = Type { oid: 17_200, ..(*mood).clone() };
        assert_eq!(signature(&domain), "17200:17000e17000");
        assert_eq!(enums(&signature(&domain)), [17_000]);
        assert_eq!(enums("23"), [0; 0]);
    }
}
