//! Values that are one text on the wire, in stores and in the API: parsed when they come in, so that one that exists is
//! valid; and numbers within bounds.

/// For a type with `FromStr` and `Display`: the way into and out of JSON.
macro_rules! as_text {
    ($name:ident, $error:ty, $schema:tt) => {
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed(stringify!($name))
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use as_text;

/// A number outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {noun}; give {least} to {most}")]
pub struct OutOfBounds {
    pub(crate) given: String,
    pub(crate) noun: &'static str,
    pub(crate) least: u32,
    pub(crate) most: u32,
}

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident = $least:literal to $most:literal, $noun:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "u32", into = "u32")]
        pub struct $name(u32);

        impl $name {
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl TryFrom<u32> for $name {
            type Error = crate::network::OutOfBounds;

            fn try_from(number: u32) -> Result<Self, Self::Error> {
                if ($least..=$most).contains(&number) {
                    return Ok(Self(number));
                }
                let given = number.to_string();
                Err(crate::network::OutOfBounds { given, noun: $noun, least: $least, most: $most })
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::network::OutOfBounds;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let wrong = || crate::network::OutOfBounds {
                    given: text.to_owned(), noun: $noun, least: $least, most: $most,
                };
                Self::try_from(text.parse::<u32>().map_err(|_| wrong())?)
            }
        }

        impl From<$name> for u32 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed(stringify!($name))
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "integer", "minimum": $least, "maximum": $most })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(crate) use bounded;
