//! Says of stored memories which are sound, as records or as values; writes the rows and the records of these.
//!
//! The reference is in Python: fastavro and the model. What is called sound here is what the reference takes;
//! everything else is for the reference, above all what is wrong.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

pub mod avro;
pub mod json;
pub mod record;
pub mod rows;
pub mod rules;
pub mod write;

use avro::Skipped;
use record::{Field, Step};
use rows::{Event, Place, Source};
use rules::{PathBounds, Rule, Slot, UUID_CHARACTERS};

const LOOK_CLOSER: u8 = 0;
const SOUND: u8 = 1;
const CONDITIONAL: u8 = 2;

/// Reads records; see the stub for what it takes.
#[pyclass(frozen)]
struct Reader {
    reader: Arc<record::Reader>,
    names: Arc<Vec<Py<PyString>>>,
}

#[pymethods]
impl Reader {
    #[new]
    fn new(fields: Vec<(Bound<'_, PyString>, Bound<'_, PyTuple>, bool)>, identity: &[u8]) -> PyResult<Self> {
        let names = fields.iter().map(|(name, _, _)| name.clone().unbind()).collect();
        let fields = fields
            .into_iter()
            .map(|(name, rule, nullable)| {
                Ok(Field { name: name.extract()?, rule: rule_of(&rule)?, nullable })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let reader = record::Reader::new(fields, identity).map_err(PyValueError::new_err)?;
        Ok(Self { reader: Arc::new(reader), names: Arc::new(names) })
    }

    /// Returns the same reader for records of these schemas.
    fn for_writers(&self, writers: HashMap<u32, Vec<Bound<'_, PyAny>>>) -> PyResult<Self> {
        let writers = writers
            .into_iter()
            .map(|(id, steps)| Ok((id, steps.iter().map(step_of).collect::<PyResult<_>>()?)))
            .collect::<PyResult<_>>()?;
        let reader = self.reader.for_writers(writers).map_err(PyValueError::new_err)?;
        Ok(Self { reader: Arc::new(reader), names: Arc::clone(&self.names) })
    }

    /// Reads values with their keys; what is not of type bytes itself is not sound.
    fn read(&self, py: Python<'_>, values: &Bound<'_, PyList>, keys: &Bound<'_, PyList>) -> PyResult<Read> {
        if values.len() != keys.len() {
            return Err(PyValueError::new_err("there is not one key for each value"));
        }
        let records: Vec<_> = values
            .iter()
            .zip(keys.iter())
            .map(|(value, key)| Some((backed(&value)?, backed(&key)?)))
            .collect();
        let reader = Arc::clone(&self.reader);
        let mut sound = Sound::of(records.len(), reader.fields.len());
        py.detach(|| {
            for record in &records {
                sound.add(&reader, record.as_ref());
            }
        });
        // With the lock again, which letting go of the others takes.
        sound.keep(records);
        let verdicts = PyBytes::new(py, &sound.verdicts).unbind();
        Ok(Read { reader, names: Arc::clone(&self.names), sound, verdicts })
    }

    /// Returns a writer of values for the fields of a schema; see the stub.
    fn writer(
        &self,
        schema: Vec<usize>,
        given: Vec<String>,
        uuid: Py<PyAny>,
        datetime: Py<PyAny>,
        micros: Py<PyAny>,
        members: Vec<Py<PyAny>>,
    ) -> PyResult<Writer> {
        let given = given.iter().map(|name| self.place(name)).collect::<PyResult<Vec<_>>>()?;
        let steps = schema.iter().copied().map(Step::Known).collect();
        let writers = HashMap::from([(0, steps)]);
        let reader = self.reader.for_writers(writers).map_err(PyValueError::new_err)?;
        let order =
            schema.iter().map(|place| given.iter().position(|each| each == place).map(|at| (*place, at)));
        let order = order.collect::<Option<Vec<_>>>();
        let order = order.ok_or_else(|| PyValueError::new_err("a field of the schema is not given"))?;
        Ok(Writer { reader, order, types: write::Types { uuid, micros, datetime, members } })
    }

    /// Returns a layout of these columns.
    fn layout(&self, columns: Vec<(u32, Bound<'_, PyTuple>)>) -> PyResult<Layout> {
        let columns = columns
            .iter()
            .map(|(oid, source)| Ok((*oid, self.source_of(source)?)))
            .collect::<PyResult<_>>()?;
        Ok(Layout { columns: rows::Layout(columns), fields: Arc::clone(&self.reader.fields) })
    }
}

impl Reader {
    fn place(&self, name: &str) -> PyResult<usize> {
        let found = self.reader.fields.iter().position(|field| field.name == name);
        found.ok_or_else(|| PyValueError::new_err(format!("there is no field {name}")))
    }

    fn source_of(&self, source: &Bound<'_, PyTuple>) -> PyResult<Source> {
        let word: String = source.get_item(0)?.extract()?;
        let place = || self.place(&source.get_item(1)?.extract::<String>()?);
        Ok(match word.as_str() {
            "field" => Source::Field(place()?),
            "array_of" => Source::ArrayOf(place()?),
            "constant" => Source::Constant(source.get_item(1)?.extract()?),
            "version" => Source::Version,
            "logged_at" => Source::LoggedAt,
            "partition" => Source::Partition,
            "content" => {
                let names: Vec<String> = source.get_item(1)?.extract()?;
                let members = names.iter().enumerate().map(|(number, name)| {
                    let mut before = vec![if number == 0 { b'{' } else { b',' }];
                    json::write_string(&mut before, name.as_bytes());
                    before.push(b':');
                    Ok((before, self.place(name)?))
                });
                Source::Content(members.collect::<PyResult<_>>()?)
            }
            _ => return Err(unknown(&word)),
        })
    }
}

/// Writes values; see the stub for what it takes.
#[pyclass(frozen)]
struct Writer {
    reader: record::Reader,
    /// For each field of the schema its place among all, and among those given.
    order: Vec<(usize, usize)>,
    types: write::Types,
}

#[pymethods]
impl Writer {
    /// Returns the key and the body of a record, or None: the reference has to look at it.
    fn write<'py>(
        &self,
        py: Python<'py>,
        values: &Bound<'py, PyTuple>,
    ) -> Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let mut out = Vec::with_capacity(1024);
        out.resize(record::HEADER, 0);
        let (mut id_at, mut given) = (0, true);
        for (place, at) in &self.order {
            let value = values.get_borrowed_item(*at).ok()?;
            let is_id = *place == self.reader.roles.memory_id;
            if is_id && value.is_none() {
                given = false;
                avro::write_sized(&mut out, &rules::uuid_text([0; 16]))?;
            } else {
                write::write_field(&mut out, &self.reader.fields[*place], &value, &self.types)?;
            }
            if is_id {
                id_at = out.len() - UUID_CHARACTERS;
            }
        }
        let key = self.reader.complete(&mut out, id_at, given)?;
        Some((PyBytes::new(py, &key), PyBytes::new(py, &out[record::HEADER..])))
    }
}

/// What the columns of a row type are made of.
#[pyclass(frozen)]
struct Layout {
    columns: rows::Layout,
    fields: Arc<Vec<Field>>,
}

/// What was found in records: of each its value, if it is sound, a verdict, and so many slots.
struct Sound {
    values: Vec<Option<PyBackedBytes>>,
    verdicts: Vec<u8>,
    slots: Vec<Slot>,
    width: usize,
}

impl Sound {
    fn of(records: usize, width: usize) -> Self {
        Self {
            values: Vec::with_capacity(records),
            verdicts: Vec::with_capacity(records),
            slots: Vec::with_capacity(records * width),
            width,
        }
    }

    fn add(&mut self, reader: &record::Reader, record: Option<&(PyBackedBytes, PyBackedBytes)>) {
        let begin = self.slots.len();
        let sound = record.and_then(|(value, key)| reader.read(value, key, &mut self.slots));
        self.verdicts.push(match sound {
            None => LOOK_CLOSER,
            Some(()) if reader.is_conditional(&self.slots[begin..]) => CONDITIONAL,
            Some(()) => SOUND,
        });
        self.slots.resize(begin + self.width, Slot::Null);
    }

    fn keep(&mut self, records: Vec<Option<(PyBackedBytes, PyBackedBytes)>>) {
        let verdicts = self.verdicts.iter();
        let sound = records
            .into_iter()
            .zip(verdicts)
            .map(|(record, verdict)| record.filter(|_| *verdict != LOOK_CLOSER).map(|(value, _)| value));
        self.values.extend(sound);
    }

    fn event(&self, number: usize) -> PyResult<Event<'_>> {
        let value = self.values.get(number).and_then(Option::as_ref);
        let value = value.ok_or_else(|| PyIndexError::new_err("this is no sound record"))?;
        Ok(Event { value, slots: &self.slots[number * self.width..(number + 1) * self.width] })
    }
}

/// Records that were read.
#[pyclass(frozen)]
struct Read {
    reader: Arc<record::Reader>,
    names: Arc<Vec<Py<PyString>>>,
    sound: Sound,
    /// For each record 0: look closer, 1: sound, 2: sound, and applied only onto a certain version.
    #[pyo3(get)]
    verdicts: Py<PyBytes>,
}

#[pymethods]
impl Read {
    /// Returns the fields of a sound record: ids as 16 bytes, times as microseconds since 1970.
    fn fields<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyDict>> {
        let event = self.sound.event(number)?;
        let dict = PyDict::new(py);
        for ((name, field), slot) in self.names.iter().zip(self.reader.fields.iter()).zip(event.slots) {
            dict.set_item(name, object(py, &field.rule, event.value, *slot)?)?;
        }
        Ok(dict)
    }

    /// Returns the rows of sound records, each with the place that it has in the log; among others in the order
    /// of their keys, if there are any to be among.
    #[pyo3(signature = (layout, chosen, versions, logged_at, partition, *, among = None))]
    #[expect(clippy::too_many_arguments, reason = "columns come side by side")]
    fn rows<'py>(
        &self,
        py: Python<'py>,
        layout: &Layout,
        chosen: Vec<usize>,
        versions: Vec<i64>,
        logged_at: Vec<i64>,
        partition: i64,
        among: Option<Vec<(PyBackedBytes, [u8; 16], PyBackedBytes)>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if !Arc::ptr_eq(&layout.fields, &self.reader.fields) {
            return Err(PyValueError::new_err("the layout is of another reader"));
        }
        if versions.len() != chosen.len() || logged_at.len() != chosen.len() {
            return Err(PyValueError::new_err("there is not one place for each record"));
        }
        let mut rows = Vec::with_capacity(chosen.len());
        for (number, (version, logged_at_micros)) in
            chosen.into_iter().zip(versions.into_iter().zip(logged_at))
        {
            rows.push(Row::Ours(self.sound.event(number)?, Place { partition, version, logged_at_micros }));
        }
        let written = py.detach(|| {
            if let Some(others) = &among {
                rows.extend(others.iter().map(|(tenant, id, row)| Row::Other(tenant, *id, row)));
                rows.sort_by_cached_key(|row| row.order(&self.reader));
            }
            let mut out = Vec::with_capacity(rows.iter().map(Row::room).sum());
            for row in &rows {
                match row {
                    Row::Ours(event, place) => {
                        layout.columns.write(&mut out, &layout.fields, event, *place)?;
                    }
                    Row::Other(_, _, row) => out.extend_from_slice(row),
                }
            }
            Some(out)
        });
        let written = written.ok_or_else(|| PyOverflowError::new_err("a row is too long"))?;
        Ok(PyBytes::new(py, &written))
    }
}

enum Row<'a> {
    Ours(Event<'a>, Place),
    Other(&'a [u8], [u8; 16], &'a [u8]),
}

impl Row<'_> {
    fn order(&self, reader: &record::Reader) -> (Vec<u8>, [u8; 16]) {
        let (tenant, id) = match self {
            Self::Ours(event, _) => reader.order(event.value, event.slots),
            Self::Other(tenant, id, _) => (*tenant, *id),
        };
        (tenant.to_vec(), id)
    }

    /// Returns about how many bytes it takes.
    fn room(&self) -> usize {
        match self {
            Self::Ours(event, _) => 2 * event.value.len() + 512,
            Self::Other(_, _, row) => row.len(),
        }
    }
}

fn backed(object: &Bound<'_, PyAny>) -> Option<PyBackedBytes> {
    let bytes = object.cast_exact::<PyBytes>().ok()?;
    Some(bytes.clone().into())
}

fn object<'py>(py: Python<'py>, rule: &Rule, value: &[u8], slot: Slot) -> PyResult<Bound<'py, PyAny>> {
    Ok(match slot {
        Slot::Null => py.None().into_bound(py),
        Slot::Uuid(octets) => PyBytes::new(py, &octets).into_any(),
        Slot::Long(number) => number.into_pyobject(py)?.into_any(),
        Slot::Double(number) => number.into_pyobject(py)?.into_any(),
        Slot::Symbol(place) => match rule {
            Rule::Symbol(names) => PyString::new(py, &names[place]).into_any(),
            _ => py.None().into_bound(py),
        },
        Slot::Text { begin, end } => text(py, &value[begin..end])?,
        Slot::Items { begin, count } => {
            let items = &value[begin..];
            let list = PyList::empty(py);
            let whole = match rule {
                Rule::Texts(..) => rows::texts(items, count, |raw| list.append(text(py, raw).ok()?).ok()),
                Rule::Doubles(_) => rows::doubles(items, count, |number| list.append(number).ok()),
                _ => rows::floats(items, count, |number| list.append(number).ok()),
            };
            whole.ok_or_else(|| PyValueError::new_err("a list cannot be made"))?;
            list.into_any()
        }
    })
}

fn text<'py>(py: Python<'py>, raw: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyString::from_bytes(py, raw)?.into_any())
}

fn rule_of(rule: &Bound<'_, PyTuple>) -> PyResult<Rule> {
    let word: String = rule.get_item(0)?.extract()?;
    let most = |at: usize| rule.get_item(at)?.extract::<usize>();
    Ok(match word.as_str() {
        "uuid" => Rule::Uuid,
        "tenant" => Rule::Tenant,
        "namespace" => {
            Rule::Namespace(PathBounds { segments: most(1)?, segment_characters: most(2)?, bytes: most(3)? })
        }
        "bytes" => Rule::Bytes(most(1)?),
        "characters" => Rule::Characters(most(1)?),
        "json" => Rule::Json(most(1)?, most(2)?),
        "texts" => Rule::Texts(most(1)?, most(2)?),
        "share" => Rule::Share,
        "doubles" => Rule::Doubles(most(1)?),
        "floats" => Rule::Floats(most(1)?),
        "moment" => Rule::Moment,
        "below" => Rule::Below(rule.get_item(1)?.extract()?),
        "symbol" => Rule::Symbol(rule.get_item(1)?.extract()?),
        _ => return Err(unknown(&word)),
    })
}

fn step_of(step: &Bound<'_, PyAny>) -> PyResult<Step> {
    match step.extract::<usize>() {
        Ok(place) => Ok(Step::Known(place)),
        Err(_) => Ok(Step::Skip(skipped_of(step)?)),
    }
}

fn skipped_of(step: &Bound<'_, PyAny>) -> PyResult<Skipped> {
    let word: String = step.get_item(0)?.extract()?;
    let inner = || Ok::<_, PyErr>(Box::new(skipped_of(&step.get_item(1)?)?));
    let several = || step.get_item(1)?.try_iter()?.map(|each| skipped_of(&each?)).collect::<PyResult<_>>();
    Ok(match word.as_str() {
        "fixed" => Skipped::Fixed(step.get_item(1)?.extract()?),
        "long" => Skipped::Long,
        "sized" => Skipped::Sized,
        "array" => Skipped::Array(inner()?),
        "map" => Skipped::Map(inner()?),
        "union" => Skipped::Union(several()?),
        "record" => Skipped::Record(several()?),
        _ => return Err(unknown(&word)),
    })
}

fn unknown(word: &str) -> PyErr {
    PyValueError::new_err(format!("nothing is called {word} here"))
}

#[pymodule]
fn soma_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Reader>()?;
    module.add_class::<Read>()?;
    module.add_class::<Writer>()?;
    module.add_class::<Layout>()
}
