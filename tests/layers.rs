//! The structure of `src`, read from its code: layers use only what is declared above them, and no two modules of one
//! folder use each other.
//!
//! `lib.rs` declares the layers from the bottom up and `pull.rs` the stages of a pull in their order; in both, a module
//! uses only modules declared above it. Everywhere else the children of a module may stand in any order, and must not form
//! a circle. Items behind `#[cfg(test)]` do not count: a test may use everything.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests are tests; syn's enums grow"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

/// Modules whose children are declared in the order in which they may use each other.
const ORDERED: [&str; 2] = ["", "pull"];

#[test]
fn each_layer_uses_only_layers_declared_above_it() {
    let tree = Tree::from_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let uses = tree.uses();
    assert!(uses.len() > 500, "only {} uses were found", uses.len());
    for module in ORDERED {
        assert!(tree.children(module).len() > 5, "`{module}` has few children");
        assert_eq!(tree.against_order(module, &uses), Vec::<String>::new());
    }
}

#[test]
fn no_two_modules_of_one_folder_use_each_other() {
    let tree = Tree::from_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let circles = tree.circles(&tree.uses());
    assert_eq!(circles, Vec::<String>::new());
}

#[test]
fn a_use_of_a_layer_below_is_found_in_each_form() {
    for code in [
        "use crate::door::Door;",
        "use crate::{door, base::reason};",
        "use crate::door as entrance;",
        "fn f() { crate::door::open() }",
        "fn f(x: crate::door::Door) {}",
        "fn f() { assert_eq!(crate::door::open(), 1) }",
        "use super::door::Door;",
        "mod inner { use super::super::door::Door; }",
        "impl crate::door::Open for u8 {}",
        "#[cfg(test)] mod tests { fn f() {} } use crate::door::Door;",
        "#[cfg(test)] use std::fs; fn f() { crate::door::open() }",
        "#[cfg(not(test))] use crate::door::Door;",
        "use crate::Door;",
    ] {
        let tree = Tree::from_files(&[
            ("", "mod base; mod pull; mod door; pub use door::Door;"),
            ("base", ""),
            ("pull", code),
            ("door", "pub struct Door;"),
        ]);
        let found = tree.against_order("", &tree.uses());
        assert_eq!(
            found,
            ["`pull` uses `door`, which is declared below it"],
            "{code}"
        );
    }
}

#[test]
fn a_use_of_a_layer_above_and_uses_of_tests_are_allowed() {
    for code in [
        "use crate::base::reason;",
        "#[cfg(test)] mod tests { use crate::door::Door; }",
        "#[cfg(test)] use crate::door::Door;",
        "#[cfg(all(test, unix))] fn f() { crate::door::open() }",
        "struct Pull { #[cfg(test)] door: crate::door::Door }",
        "/// [`crate::door::Door`] in a comment\nfn f() { let text = \"crate::door\"; }",
    ] {
        let tree = Tree::from_files(&[
            ("", "mod base; mod pull; mod door;"),
            ("base", ""),
            ("pull", code),
            ("door", ""),
        ]);
        assert_eq!(
            tree.against_order("", &tree.uses()),
            Vec::<String>::new(),
            "{code}"
        );
    }
}

#[test]
fn a_circle_is_found_also_behind_a_reexport() {
    let faces = [
        "",
        "mod client; mod auth;",
        "mod client; mod auth; pub use client::Client;",
    ];
    for (face, code, circles) in [
        (faces[1], "use super::client::Client;", 1),
        (faces[2], "use super::Client;", 1),
        (faces[2], "use crate::net::Client;", 1),
        (faces[1], "", 0),
    ] {
        let tree = Tree::from_files(&[
            ("", "mod net;"),
            ("net", face),
            ("net::client", "use super::auth::Token; pub struct Client;"),
            ("net::auth", code),
        ]);
        assert_eq!(tree.circles(&tree.uses()).len(), circles, "{face} {code}");
    }
}

/// Every module of a crate by its path (`""` is the root): its parsed code, and the order of its children.
struct Tree {
    modules: BTreeMap<String, Module>,
}

#[derive(Default)]
struct Module {
    children: Vec<String>,
    /// Names that `use` brings in, and the absolute paths that they stand for.
    imports: BTreeMap<String, Vec<String>>,
    /// Every path that the code names outside of tests, as written.
    paths: Vec<Vec<String>>,
}

/// A module that uses another.
type Use = (String, String);

impl Tree {
    fn from_folder(source: &Path) -> Self {
        let mut files = Vec::new();
        for path in rust_files(source) {
            let relative = path.strip_prefix(source).unwrap().with_extension("");
            let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
            let module = match parts.as_slice() {
                ["lib"] => String::new(),
                ["bin", ..] => continue,
                parts => parts.join("::"),
            };
            files.push((module, fs::read_to_string(&path).unwrap()));
        }
        let files: Vec<_> = files
            .iter()
            .map(|(module, code)| (module.as_str(), code.as_str()))
            .collect();
        Self::from_files(&files)
    }

    fn from_files(files: &[(&str, &str)]) -> Self {
        let mut modules = BTreeMap::new();
        for (name, code) in files {
            let file = syn::parse_file(code).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut reader = Reader {
                module: (*name).to_owned(),
                modules: &mut modules,
            };
            reader.items(&file.items);
        }
        // Files that only tests use are declared behind `#[cfg(test)]`, so that no parent names them as a child.
        let declared: BTreeSet<String> = modules
            .iter()
            .flat_map(|(name, module)| module.children.iter().map(|child| join(name, child)))
            .collect();
        let mut tree = Self { modules };
        tree.modules.retain(|name, _| {
            let parts: Vec<_> = name.split("::").collect();
            name.is_empty() || (1..=parts.len()).all(|length| declared.contains(&parts[..length].join("::")))
        });
        tree
    }

    fn children(&self, module: &str) -> &[String] {
        &self.modules[module].children
    }

    /// Which module uses which, re-exports followed to the module that defines the item.
    fn uses(&self) -> BTreeSet<Use> {
        let mut uses = BTreeSet::new();
        for (name, module) in &self.modules {
            for path in &module.paths {
                if let Some(used) = self.resolve(name, path, 0)
                    && used != *name
                {
                    uses.insert((name.clone(), used));
                }
            }
        }
        uses
    }

    /// The module in which the item at this path is defined, or none for a path that leads out of the crate.
    fn resolve(&self, from: &str, path: &[String], depth: usize) -> Option<String> {
        let (first, mut rest) = path.split_first()?;
        let mut module = match first.as_str() {
            "crate" => String::new(),
            "self" => from.to_owned(),
            "super" => parent(from)?.to_owned(),
            child if self.modules.contains_key(&join(from, child)) => join(from, child),
            _ => return None,
        };
        while let Some((next, after)) = rest.split_first() {
            if next == "super" {
                module = parent(&module)?.to_owned();
            } else if self.modules.contains_key(&join(&module, next)) {
                module = join(&module, next);
            } else {
                let imported = self.modules[&module].imports.get(next).filter(|_| depth < 8);
                let further = imported.and_then(|target| {
                    let target: Vec<_> = target.iter().chain(after).cloned().collect();
                    self.resolve(&module, &target, depth + 1)
                });
                return Some(further.unwrap_or(module));
            }
            rest = after;
        }
        Some(module)
    }

    /// Uses between the children of `module` that go against the order of their declarations.
    fn against_order(&self, module: &str, uses: &BTreeSet<Use>) -> Vec<String> {
        let order = self.children(module);
        let place = |name: &str| order.iter().position(|child| *child == name);
        self.between_children(module, uses)
            .into_iter()
            .filter(|(user, used)| place(used) > place(user))
            .map(|(user, used)| format!("`{user}` uses `{used}`, which is declared below it"))
            .collect()
    }

    /// Groups of sibling modules that use each other in a circle.
    fn circles(&self, uses: &BTreeSet<Use>) -> Vec<String> {
        let mut circles = Vec::new();
        for module in self.modules.keys() {
            let between = self.between_children(module, uses);
            let reach = |start: &str| {
                let mut reached = BTreeSet::new();
                let mut open = vec![start.to_owned()];
                while let Some(user) = open.pop() {
                    for (_, used) in between.iter().filter(|(from, _)| *from == user) {
                        if reached.insert(used.clone()) {
                            open.push(used.clone());
                        }
                    }
                }
                reached
            };
            let circle: Vec<_> = self
                .children(module)
                .iter()
                .filter(|child| reach(child).contains(*child))
                .collect();
            if !circle.is_empty() {
                let edges: Vec<_> = between
                    .iter()
                    .filter(|(user, used)| circle.contains(&user) && circle.contains(&used))
                    .map(|(user, used)| format!("{user} -> {used}"))
                    .collect();
                circles.push(format!("in `{module}`: {}", edges.join(", ")));
            }
        }
        circles
    }

    /// Which child of `module` uses which other one, each with everything below it.
    fn between_children(&self, module: &str, uses: &BTreeSet<Use>) -> BTreeSet<Use> {
        let child = |name: &str| {
            let below = if module.is_empty() {
                name
            } else {
                name.strip_prefix(module)?.strip_prefix("::")?
            };
            below
                .split("::")
                .next()
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
        };
        let pairs = uses
            .iter()
            .filter_map(|(user, used)| Some((child(user)?, child(used)?)));
        pairs.filter(|(user, used)| user != used).collect()
    }
}

/// Reads one file, and the modules that stand inside it.
struct Reader<'m> {
    module: String,
    modules: &'m mut BTreeMap<String, Module>,
}

impl Reader<'_> {
    fn items(&mut self, items: &[syn::Item]) {
        self.modules.entry(self.module.clone()).or_default();
        for item in items {
            self.visit_item(item);
        }
    }

    fn here(&mut self) -> &mut Module {
        self.modules.get_mut(&self.module).unwrap()
    }

    fn path(&mut self, parts: Vec<String>) {
        self.here().paths.push(parts);
    }

    fn use_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| {
            let mut path = prefix.to_vec();
            if name != "self" || prefix.is_empty() {
                path.push(name.to_string());
            }
            path
        };
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(prefix, tree)),
            syn::UseTree::Glob(_) => self.path(prefix.to_vec()),
            syn::UseTree::Name(name) => self.import(with(&name.ident), None),
            syn::UseTree::Rename(rename) => self.import(with(&rename.ident), Some(rename.rename.to_string())),
        }
    }

    fn import(&mut self, path: Vec<String>, renamed: Option<String>) {
        let name = renamed.or_else(|| path.last().cloned()).unwrap();
        self.here().imports.insert(name, path.clone());
        self.path(path);
    }

    /// Paths inside a macro's call, whose arguments are not parsed: each `crate::…` and `super::…`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(word) if !path.is_empty() && colons == 2 => path.push(word.to_string()),
                TokenTree::Ident(word) => {
                    self.token_path(&mut path);
                    if ["crate", "super"].contains(&word.to_string().as_str()) {
                        path.push(word.to_string());
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.token_path(&mut path);
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.token_path(&mut path),
            }
            colons = 0;
        }
        self.token_path(&mut path);
    }

    fn token_path(&mut self, path: &mut Vec<String>) {
        if !path.is_empty() {
            self.path(std::mem::take(path));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        match item {
            syn::Item::Mod(module) => {
                let name = module.ident.to_string();
                self.here().children.push(name.clone());
                if let Some((_, items)) = &module.content {
                    let module = join(&self.module, &name);
                    Reader {
                        module,
                        modules: self.modules,
                    }
                    .items(items);
                }
            }
            syn::Item::Use(item) => self.use_tree(&[], &item.tree),
            item => syn::visit::visit_item(self, item),
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_for_tests(&field.attrs) {
            syn::visit::visit_field(self, field);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(
            path.segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
        );
        syn::visit::visit_path(self, path);
    }

    /// `pub(in crate::net)` names a place and uses nothing of it.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        syn::visit::visit_macro(self, call);
    }
}

/// Whether these attributes say `#[cfg(test)]`, alone or in an `all(…)`.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .any(|attribute| {
            let syn::Meta::List(list) = &attribute.meta else {
                return false;
            };
            let text = list.tokens.to_string();
            text == "test" || text.starts_with("all (test") || text.starts_with("all(test")
        })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn join(module: &str, child: &str) -> String {
    if module.is_empty() {
        child.to_owned()
    } else {
        format!("{module}::{child}")
    }
}

fn parent(module: &str) -> Option<&str> {
    if module.is_empty() {
        return None;
    }
    Some(module.rsplit_once("::").map_or("", |(parent, _)| parent))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
