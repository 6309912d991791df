//! The names that Oracle's client signs.

use crate::oci::Repository;

/// Returns the name that Oracle's client signs for a repository: without the host, and on OCI Container Registry without
/// the tenancy's namespace, which is the first part of the path (`phx.ocir.io/<namespace>/project01/acme` is signed as
/// `project01/acme`; fnproject/cli `getRepositoryName`). In other registries it is the whole path.
#[must_use]
pub fn repository_name(repository: &Repository) -> &str {
    let host = repository
        .registry()
        .split_once(':')
        .map_or(repository.registry(), |(host, _)| host);
    let path = repository.path();
    if host.split('.').any(|label| label == "ocir") {
        path.split_once('/').map_or(path, |(_, name)| name)
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::repository_name;
    use crate::oci::Repository;

    #[test]
    fn a_name_leaves_out_the_host_and_on_oracles_registry_the_namespace() {
        for (host, path, name) in [
            ("phx.ocir.io", "tenancy/project01/acme", "project01/acme"),
            ("ocir.eu-zurich-1.oci.oraclecloud.com", "tenancy/acme", "acme"),
            ("phx.ocir.io:443", "tenancy/acme", "acme"),
            ("phx.ocir.io", "acme", "acme"),
            (
                "registry.example",
                "tenancy/project01/acme",
                "tenancy/project01/acme",
            ),
            ("notocir.example", "tenancy/acme", "tenancy/acme"),
        ] {
            let repository = Repository::new(host, path).unwrap();
            assert_eq!(repository_name(&repository), name, "{repository}");
        }
    }
}
