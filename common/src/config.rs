//! Configuration: defaults, then a TOML file, then the environment and flags.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Why a configuration cannot be used. Says where it stands.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or names an unknown setting, or a value is of the wrong kind.
    #[error("{path}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with its line.
        message: String,
    },
    /// Flags and environment do not fit.
    #[error("in the flags or the environment: {0}")]
    Flags(String),
}

/// The options of a program: `file` over the defaults of `O`, `flags` over both. `flags` must leave out, when serialised,
/// what was not given. Unknown settings are errors when `O` says `deny_unknown_fields`.
///
/// # Errors
/// When the file cannot be read or understood.
pub fn load<O: DeserializeOwned>(file: Option<&Path>, flags: &impl Serialize) -> Result<O, ConfigError> {
    let mut table = match file {
        None => toml::Table::new(),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
            let parse =
                |error: toml::de::Error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() };
            // Read as options first, alone: an error then shows its line in the file.
            toml::from_str::<O>(&text).map_err(parse)?;
            toml::from_str(&text).map_err(parse)?
        }
    };
    let flags = toml::Table::try_from(flags).map_err(|error| ConfigError::Flags(error.to_string()))?;
    merge(&mut table, flags);
    table.try_into().map_err(|error: toml::de::Error| ConfigError::Flags(error.message().to_owned()))
}

/// The options as TOML, each below what the source that declares it says of it. `sources` has the source for each table; the name of the
/// outermost one is empty.
///
/// # Errors
/// When the options cannot be written as TOML.
pub fn commented(options: &impl Serialize, sources: &[(&str, &str)]) -> Result<String, toml::ser::Error> {
    let (text, mut table, mut out) = (toml::to_string(options)?, "", String::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = name;
        } else if let Some((key, _)) = line.split_once(" = ") {
            let source = sources.iter().find(|(of, _)| *of == table).map_or("", |(_, source)| source);
            out.push('\n');
            said_of(source, key).for_each(|said| out.extend(["# ", said, "\n"]));
        }
        out.extend([line, "\n"]);
    }
    Ok(out)
}

/// The lines of the comment above a field's declaration.
fn said_of<'a>(source: &'a str, field: &str) -> impl Iterator<Item = &'a str> {
    let declared = format!("pub {field}: ");
    let before = source.lines().take_while(|line| !line.trim_start().starts_with(&declared));
    let mut comment = Vec::new();
    for line in before.map(str::trim_start) {
        match line.strip_prefix("///") {
            Some(said) => comment.push(said.trim_start()),
            None if line.starts_with("#[") => {}
            None => comment.clear(),
        }
    }
    comment.into_iter()
}

/// Environment variables that look like settings of the program that `command` describes, and are none: most likely mistyped. Those that
/// Kubernetes sets for a service of the program's name are left out.
pub fn unknown_variables(command: &clap::Command) -> Vec<String> {
    let prefix = format!("{}_", command.get_name().to_uppercase().replace('-', "_"));
    let known: Vec<&OsStr> = command.get_arguments().filter_map(clap::Arg::get_env).collect();
    let names = std::env::vars_os().map(|(name, _)| name).filter(|name| !known.contains(&name.as_os_str()));
    names.filter_map(|name| name.into_string().ok()).filter(|name| looks_like_a_setting(name, &prefix)).collect()
}

fn looks_like_a_setting(name: &str, prefix: &str) -> bool {
    let of_kubernetes = |name: &str| {
        name.ends_with("_PORT") || ["_PORT_", "_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|part| name.contains(part))
    };
    name.starts_with(prefix) && !of_kubernetes(name)
}

/// Puts `over` over `table`, table by table.
fn merge(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// A number of bytes: a plain number, or one with a unit, such as `64MiB` or `2GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 7] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
];

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))
            .unwrap_or((text.strip_suffix('B').unwrap_or(text), 1));
        let number: u64 = digits
            .trim()
            .parse()
            .map_err(|_| format!("{text:?} is not a number of bytes, such as 1048576, 64MiB or 2GB"))?;
        number.checked_mul(factor).map(Self).ok_or_else(|| format!("{text} is more than fits in 64 bits"))
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match UNITS.iter().take(4).find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(bytes) => Ok(Self(bytes)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Options {
        data: PathBuf,
        limit: Bytes,
    }

    impl Default for Options {
        fn default() -> Self {
            Self { data: "data".into(), limit: Bytes(1) }
        }
    }

    #[derive(Serialize)]
    struct Flags {
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<PathBuf>,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn flags_stand_over_the_file_and_the_file_over_defaults() {
        let config = file("data = 'from-file'\nlimit = '64MiB'\n");
        let options: Options = load(Some(config.path()), &Flags { data: None }).unwrap();
        assert_eq!(options, Options { data: "from-file".into(), limit: Bytes(64 << 20) });
        let options: Options = load(Some(config.path()), &Flags { data: Some("from-flag".into()) }).unwrap();
        assert_eq!(options.data, PathBuf::from("from-flag"));
        assert_eq!(load::<Options>(None, &Flags { data: None }).unwrap(), Options::default());
    }

    #[test]
    fn an_unknown_setting_is_named_with_its_line() {
        let config = file("data = 'x'\nlimits = 5\n");
        let error = load::<Options>(Some(config.path()), &Flags { data: None }).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("limits"), "{error}");
    }

    #[test]
    fn options_are_printed_below_what_their_source_says_of_them() {
        let source =
            "struct Options {\n    /// Where it\n    /// lies.\n    #[x]\n    pub data: X,\n    pub limit: X,\n}";
        let printed = commented(&Written { data: "x", limit: 2 }, &[("", source)]).unwrap();
        assert_eq!(printed, "\n# Where it\n# lies.\ndata = \"x\"\n\nlimit = 2\n");
    }

    #[derive(Serialize)]
    struct Written {
        data: &'static str,
        limit: u64,
    }

    #[test]
    fn variables_that_kubernetes_sets_for_a_service_are_not_taken_for_settings() {
        let looks = |name: &str| looks_like_a_setting(name, "CLEW_AGENT_");
        assert!(looks("CLEW_AGENT_DATAA") && looks("CLEW_AGENT_PORTS"));
        for other in [
            "CLEW_AGENT_PORT",
            "CLEW_AGENT_ADMIN_SERVICE_HOST",
            "CLEW_AGENT_PORT_4317_TCP",
            "CLEW_AGENT_SERVICE_HOST",
            "CLEW_DATA",
            "PATH",
        ] {
            assert!(!looks(other), "{other}");
        }
    }

    #[test]
    fn bytes_are_read_with_units_and_written_shortest() {
        assert_eq!("2GB".parse::<Bytes>(), Ok(Bytes(2_000_000_000)));
        assert_eq!("1024".parse::<Bytes>(), Ok(Bytes(1024)));
        assert_eq!(Bytes(64 << 20).to_string(), "64MiB");
        for wrong in ["", "x", "-1", "99999999TiB", "1.5GiB"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong:?}");
        }
    }
}
