//! The answer for an image to which no rule applies.

/// The action for an image to which no rule applies. The configuration has to name one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultAction {
    /// `"insecure-accept-anything"`.
    InsecureAcceptAnything,
    /// `"reject"`.
    Reject,
}

impl DefaultAction {
    /// Both actions, the safe one first.
    pub const ALL: [Self; 2] = [Self::Reject, Self::InsecureAcceptAnything];

    /// Returns the spelling of the configuration and of `--json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InsecureAcceptAnything => "insecure-accept-anything",
            Self::Reject => "reject",
        }
    }
}
