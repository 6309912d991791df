//! Denials for lists of tags and referrers, which are not pulls but depend on the same rules.

use super::Gate;
use crate::base::error_chain::chain;
use crate::base::reason::Reason;
use crate::net::registry::RegistryError;
use crate::pull::decide::Denial;
use crate::pull::request::PullRequest;

impl Gate {
    /// Checks whether the rules alone deny every image of a repository. A list of tags shows which images exist, so the
    /// rules hide it where they admit no image.
    ///
    /// # Errors
    /// Returns the denial, which is not recorded.
    pub fn check_rules(&self, request: &PullRequest) -> Result<(), Box<Denial>> {
        let settings = self.settings();
        let rule = request.effective_rule(&settings.policy);
        self.context(request, &settings, &rule).check_rules()
    }

    /// Makes the denial of a request under its rule.
    #[must_use]
    pub fn denial(&self, request: &PullRequest, reason: Reason, detail: String) -> Box<Denial> {
        let settings = self.settings();
        let rule = request.effective_rule(&settings.policy);
        Denial::new(self.context(request, &settings, &rule), reason, None, detail)
    }

    /// Makes the denial of a request to which the registry returned an error.
    #[must_use]
    pub fn registry_denial(&self, request: &PullRequest, error: &RegistryError) -> Box<Denial> {
        let settings = self.settings();
        let rule = request.effective_rule(&settings.policy);
        let pull = self.context(request, &settings, &rule);
        Denial::from_registry(pull, error, None, chain(error))
    }
}
