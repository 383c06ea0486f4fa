//! Compiles a writer's Avro schema into a program: for each field how its bytes are read, and where its value goes.

use crate::model::field::Field;
use crate::transform::batch::NumberField;
use crate::transform::decode::members::{CONSENT, FEEDBACK, IDS, ITEM, ItemMember, Keys, Member, MemberName, ROOT, USER};
use crate::transform::decode::take::To;
use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, NamesRef, RecordSchema, ResolvedSchema, UuidSchema};
use std::collections::HashMap;

/// A writer's schema, compiled. Shape: nodes name each other by their place, so that a schema may be recursive.
pub struct AvroProgram {
    pub(super) nodes: Vec<Node>,
    pub(super) root: u32,
}

/// How the bytes of one type are read.
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes,
    Fixed(usize),
    /// A long since the epoch, and how many of its units are a millisecond.
    Instant {
        per_ms: i64,
    },
    /// Dates, times of day and local times: whole numbers that are no instant.
    Calendar,
    /// Unscaled two's complement, big-endian; `size` where it is fixed.
    Decimal {
        size: Option<usize>,
        scale: usize,
    },
    Enum(Box<[Box<str>]>),
    Union(Box<[u32]>),
    /// `None`: elements take no bytes, so there is nothing to read, however many there are said to be.
    Array(Option<u32>),
    Map(u32),
    /// A record that nobody asked for.
    Skipped(Box<[u32]>),
    Object(Box<[(Target, u32)]>),
    /// A record under `custom`: which names are allowed is the tenant's, so they are looked up when read.
    Customs(Box<[(Box<str>, u32)]>),
}

/// Where a value goes.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Nowhere,
    Value(To),
    Number(NumberField),
    /// An object by its field; `None`: the event itself.
    Object(Option<Field>),
    Customs,
    Item,
    ItemText(usize),
    ItemPrice,
    ItemQuantity,
}

impl Target {
    /// Where a member of an object goes. Shape: `None` for a member that the schema of raw events does not know.
    pub(super) fn of_member(object: Option<Field>, name: &str) -> Option<Target> {
        let keys: Keys = match object {
            None => &ROOT,
            Some(Field::User) => &USER,
            Some(Field::Ids) => &IDS,
            Some(Field::Consent) => &CONSENT,
            Some(_) => &FEEDBACK,
        };
        Some(match keys.get(MemberName::of(name.as_bytes())) {
            Member::Text(field) => Target::Value(To::Text(field)),
            Member::List(field) => Target::Value(To::List(field)),
            Member::Number(field) => Target::Number(field),
            Member::Kind => Target::Value(To::Kind),
            Member::EventTime => Target::Value(To::EventTime),
            Member::Object(field, _) => Target::Object(Some(field)),
            Member::ConsentAnswer(purpose) => Target::Value(To::ConsentAnswer(purpose)),
            Member::ConsentGivenAt => Target::Value(To::ConsentGivenAt),
            Member::OptOut => Target::Value(To::OptOut),
            Member::Items => Target::Value(To::Items),
            Member::Custom => Target::Customs,
            Member::Unknown => return None,
        })
    }

    fn of_item_member(name: &str) -> Option<Target> {
        match ITEM.get(MemberName::of(name.as_bytes())) {
            ItemMember::Text(i) => Some(Target::ItemText(i)),
            ItemMember::Price => Some(Target::ItemPrice),
            ItemMember::Quantity => Some(Target::ItemQuantity),
            ItemMember::Unknown => None,
        }
    }
}

/// What a record means where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Context {
    Nothing,
    Object(Option<Field>),
    Customs,
    Items,
    Item,
}

impl Context {
    fn of(target: Option<Target>) -> Self {
        match target {
            Some(Target::Object(object)) => Context::Object(object),
            Some(Target::Customs) => Context::Customs,
            Some(Target::Value(To::Items)) => Context::Items,
            _ => Context::Nothing,
        }
    }
}

/// Compiles a writer's schema.
///
/// Errors: it is not an Avro schema, or not one of a record; nothing of the schema is told.
pub fn compile(schema: &str) -> Result<AvroProgram, String> {
    compile_with(schema, &[])
}

/// Compiles a writer's schema that names types of others. Errors: as [`compile`].
pub fn compile_with(schema: &str, others: &[String]) -> Result<AvroProgram, String> {
    let bad = |_| "the Avro schema cannot be read".to_string();
    let (schema, others) = Schema::parse_str_with_list(schema, others).map_err(bad)?;
    let resolved = ResolvedSchema::new_with_schemata(others.iter().chain([&schema]).collect()).map_err(bad)?;
    if !matches!(schema, Schema::Record(_)) {
        return Err("the Avro schema of a raw event must be a record".into());
    }
    let mut compiler = Compiler { names: resolved.get_names(), nodes: Vec::new(), named: HashMap::new(), empty: HashMap::new() };
    let root = compiler.node(&schema, Context::Object(None))?;
    Ok(AvroProgram { nodes: compiler.nodes, root })
}

struct Compiler<'s> {
    names: &'s NamesRef<'s>,
    nodes: Vec<Node>,
    named: HashMap<(&'s Name, Context), u32>,
    empty: HashMap<&'s Name, bool>,
}

impl<'s> Compiler<'s> {
    /// The node of a schema, where it stands. Named types are compiled once a context, so this ends for recursive ones too.
    fn node(&mut self, schema: &'s Schema, context: Context) -> Result<u32, String> {
        let schema = self.resolved(schema)?;
        let node = match schema {
            // Spelled out, a record of records of nulls could be as large as anybody likes.
            Schema::Record(_) if context == Context::Nothing && self.is_empty(schema) => Node::Skipped(Box::default()),
            Schema::Record(record) => return self.record(record, context),
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|v| self.node(v, context)).collect::<Result<_, _>>()?;
                Node::Union(variants)
            }
            Schema::Array(array) => {
                let items = self.resolved(&array.items)?;
                let inside = if context == Context::Items { Context::Item } else { Context::Nothing };
                let empty = self.is_empty(items);
                Node::Array(if empty { None } else { Some(self.node(items, inside)?) })
            }
            Schema::Map(map) => Node::Map(self.node(&map.types, Context::Nothing)?),
            Schema::Enum(e) => Node::Enum(e.symbols.iter().map(|s| s.as_str().into()).collect()),
            Schema::Null | Schema::Ref { .. } => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int => Node::Int,
            Schema::Long => Node::Long,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::Text,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Node::Bytes,
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => Node::Fixed(fixed.size),
            Schema::Decimal(decimal) => {
                let size = match &decimal.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                };
                Node::Decimal { size, scale: decimal.scale }
            }
            Schema::TimestampMillis => Node::Instant { per_ms: 1 },
            Schema::TimestampMicros => Node::Instant { per_ms: 1_000 },
            Schema::TimestampNanos => Node::Instant { per_ms: 1_000_000 },
            Schema::Date
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Node::Calendar,
        };
        Ok(self.push(node))
    }

    fn push(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn record(&mut self, record: &'s RecordSchema, context: Context) -> Result<u32, String> {
        if let Some(id) = self.named.get(&(&record.name, context)) {
            return Ok(*id);
        }
        // Its place is known before its fields are, for those that name the record itself.
        let id = self.push(Node::Null);
        self.named.insert((&record.name, context), id);
        let node = match context {
            Context::Nothing | Context::Items => {
                Node::Skipped(record.fields.iter().map(|f| self.node(&f.schema, Context::Nothing)).collect::<Result<_, _>>()?)
            }
            Context::Customs => Node::Customs(
                record
                    .fields
                    .iter()
                    .map(|f| Ok((f.name.as_str().into(), self.node(&f.schema, Context::Nothing)?)))
                    .collect::<Result<_, String>>()?,
            ),
            Context::Object(object) => self.object(record, |name| Target::of_member(object, name))?,
            Context::Item => self.object(record, Target::of_item_member)?,
        };
        self.nodes[id as usize] = node;
        Ok(id)
    }

    fn object(&mut self, record: &'s RecordSchema, target: impl Fn(&str) -> Option<Target>) -> Result<Node, String> {
        let fields = record.fields.iter().map(|field| {
            let target = target(&field.name);
            Ok((target.unwrap_or(Target::Nowhere), self.node(&field.schema, Context::of(target))?))
        });
        fields.collect::<Result<_, String>>().map(Node::Object)
    }

    fn resolved(&self, schema: &'s Schema) -> Result<&'s Schema, String> {
        match schema {
            Schema::Ref { name } => {
                self.names.get(name).copied().ok_or_else(|| "the Avro schema names a type that it does not hold".into())
            }
            other => Ok(other),
        }
    }

    /// Whether values take no bytes at all: a count of them would cost its writer nothing, and its reader everything.
    fn is_empty(&mut self, schema: &'s Schema) -> bool {
        match schema {
            Schema::Null => true,
            Schema::Fixed(fixed) => fixed.size == 0,
            Schema::Ref { name } => self.names.get(name).copied().is_some_and(|s| self.is_empty(s)),
            Schema::Record(record) => {
                if let Some(known) = self.empty.get(&record.name) {
                    return *known;
                }
                // A record within itself cannot be told to be empty: it has no end.
                self.empty.insert(&record.name, false);
                let empty = record.fields.iter().all(|f| self.is_empty(&f.schema));
                self.empty.insert(&record.name, empty);
                empty
            }
            _ => false,
        }
    }
}
