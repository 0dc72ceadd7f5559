//! Writes values of Python as fastavro and Python's `json` do, where they are of the very types that these expect.
//!
//! What is written is read again by the rules that every record is read by, so that no rule stands here.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::avro;
use crate::json;
use crate::record::Field;
use crate::rules::{self, Rule};

/// Beyond it, not every integer is a double.
const LARGEST_SURE_INTEGER: i64 = 1 << 53;
const SMALLEST_FLOAT: f64 = 1.401_298_464_324_817e-45;

/// What is known of the objects that values are.
pub struct Types {
    /// The class of ids.
    pub uuid: Py<PyAny>,
    /// Returns the microseconds since 1970 of a datetime.
    pub micros: Py<PyAny>,
    pub datetime: Py<PyAny>,
    /// The members of the enumeration, in the order of its symbols.
    pub members: Vec<Py<PyAny>>,
}

/// Appends a field, or says that the reference has to look at it.
pub fn write_field(out: &mut Vec<u8>, field: &Field, value: &Bound<'_, PyAny>, types: &Types) -> Option<()> {
    if value.is_none() {
        // A union of null and a type, in this order.
        return field.nullable.then(|| out.push(0));
    }
    if field.nullable {
        out.push(2);
    }
    let py = value.py();
    match &field.rule {
        Rule::Uuid => avro::write_sized(out, &uuid_text(value, types)?)?,
        Rule::Tenant | Rule::Namespace(_) | Rule::Bytes(_) | Rule::Characters(_) => write_text(out, value)?,
        Rule::Json(_, depth) => match value.cast_exact::<PyDict>() {
            Ok(object) => {
                let mut text = Vec::with_capacity(256);
                write_object(&mut text, object, *depth)?;
                avro::write_sized(out, &text)?;
            }
            Err(_) => write_text(out, value)?,
        },
        Rule::Texts(..) => write_items(out, value, write_text)?,
        Rule::Share => out.extend_from_slice(&double(value)?.to_le_bytes()),
        Rule::Doubles(_) => write_items(out, value, |out, item| {
            out.extend_from_slice(&double(item)?.to_le_bytes());
            Some(())
        })?,
        Rule::Floats(_) => {
            let mut any = false;
            write_items(out, value, |out, item| {
                let number = double(item)?;
                any |= number.abs() >= SMALLEST_FLOAT;
                // Rounded, what is a little too large would be the largest.
                if number.abs() > f64::from(f32::MAX) {
                    return None;
                }
                #[expect(clippy::cast_possible_truncation, reason = "single precision is what is kept")]
                out.extend_from_slice(&(number as f32).to_le_bytes());
                Some(())
            })?;
            any.then_some(())?;
        }
        Rule::Moment => {
            if !value.get_type().is(types.datetime.bind(py)) {
                return None;
            }
            avro::write_long(out, types.micros.bind(py).call1((value,)).ok()?.extract().ok()?);
        }
        Rule::Below(_) => avro::write_long(out, value.cast_exact::<PyInt>().ok()?.extract().ok()?),
        Rule::Symbol(names) => {
            let member = types.members.iter().position(|member| value.is(member.bind(py)));
            let place = match member {
                None => {
                    let name = value.cast_exact::<PyString>().ok()?.to_str().ok()?;
                    names.iter().position(|each| each == name)
                }
                found => found,
            };
            avro::write_long(out, i64::try_from(place?).ok()?);
        }
    }
    Some(())
}

fn uuid_text(value: &Bound<'_, PyAny>, types: &Types) -> Option<[u8; 36]> {
    if !value.get_type().is(types.uuid.bind(value.py())) {
        return None;
    }
    let bytes = value.getattr("bytes").ok()?;
    Some(rules::uuid_text(bytes.cast_exact::<PyBytes>().ok()?.as_bytes().try_into().ok()?))
}

fn write_text(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> Option<()> {
    avro::write_sized(out, text(value)?)
}

/// Returns the UTF-8 of a text, which half a surrogate pair has none of.
fn text<'a>(value: &'a Bound<'_, PyAny>) -> Option<&'a [u8]> {
    Some(value.cast_exact::<PyString>().ok()?.to_str().ok()?.as_bytes())
}

fn double(value: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return Some(number.value());
    }
    let number: i64 = value.cast_exact::<PyInt>().ok()?.extract().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "there is none below the bound")]
    (-LARGEST_SURE_INTEGER..=LARGEST_SURE_INTEGER).contains(&number).then_some(number as f64)
}

fn write_items(
    out: &mut Vec<u8>,
    value: &Bound<'_, PyAny>,
    mut write: impl FnMut(&mut Vec<u8>, &Bound<'_, PyAny>) -> Option<()>,
) -> Option<()> {
    let count = value.len().ok()?;
    if count > 0 {
        avro::write_length(out, count)?;
    }
    each(value, |item| write(out, item))?;
    out.push(0);
    Some(())
}

/// Gives each item of a list or a tuple.
fn each(value: &Bound<'_, PyAny>, mut give: impl FnMut(&Bound<'_, PyAny>) -> Option<()>) -> Option<()> {
    if let Ok(list) = value.cast_exact::<PyList>() {
        return list.iter().try_for_each(|item| give(&item));
    }
    value.cast_exact::<PyTuple>().ok()?.iter().try_for_each(|item| give(&item))
}

fn write_object(out: &mut Vec<u8>, object: &Bound<'_, PyDict>, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let mut before: &[u8] = b"{";
    for (key, value) in object {
        out.extend_from_slice(std::mem::replace(&mut before, b", "));
        json::write_string(out, text(&key)?);
        out.extend_from_slice(b": ");
        write_value(out, &value, depth)?;
    }
    if object.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    Some(())
}

fn write_value(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> Option<()> {
    if value.is_none() {
        out.extend_from_slice(b"null");
    } else if let Some(text) = text(value) {
        json::write_string(out, text);
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
    } else if value.is_exact_instance_of::<PyFloat>() || value.is_exact_instance_of::<PyInt>() {
        // Spelled as `json` does. One that is not finite is no number when it is read again.
        out.extend_from_slice(value.repr().ok()?.to_str().ok()?.as_bytes());
    } else if let Ok(object) = value.cast_exact::<PyDict>() {
        write_object(out, object, depth)?;
    } else {
        let depth = depth.checked_sub(1)?;
        let mut before: &[u8] = b"[";
        each(value, |item| {
            out.extend_from_slice(std::mem::replace(&mut before, b", "));
            write_value(out, item, depth)
        })?;
        if before == b"[" {
            out.push(b'[');
        }
        out.push(b']');
    }
    Some(())
}
