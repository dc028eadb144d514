//! What a test changes in its `config.json`.

use serde_json::{Value, json};

use super::setup::Oci;

impl Oci {
    /// Gives the container a command.
    pub fn command(&mut self, arguments: &[&str]) -> &mut Self {
        self.set("/process/args", json!(arguments))
    }

    /// Sets a value of the configuration, by a JSON pointer (its first slash may be left out) whose
    /// objects are made as needed.
    #[track_caller]
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let mut place = &mut self.config;
        for name in pointer.trim_start_matches('/').split('/') {
            place = match place {
                Value::Array(list) => {
                    list.get_mut(name.parse::<usize>().expect("an index")).expect("an item")
                }
                place => &mut place[name],
            };
        }
        *place = value;
        self
    }

    /// Adds an item to a list of the configuration, which is made if it is not there.
    #[track_caller]
    pub fn add(&mut self, pointer: &str, value: Value) -> &mut Self {
        if self.config.pointer(pointer).is_none_or(Value::is_null) {
            self.set(pointer, json!([]));
        }
        let list = self.config.pointer_mut(pointer).and_then(Value::as_array_mut);
        list.expect("a list").push(value);
        self
    }

    /// Removes a value of the configuration.
    #[track_caller]
    pub fn unset(&mut self, pointer: &str) -> &mut Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self.config.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        parent.remove(name);
        self
    }

    /// Adds a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Self {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.add("/mounts", mount)
    }

    /// Leaves a namespace out, so that the container shares the host's.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().expect("a list");
        list.retain(|namespace| namespace["type"] != kind);
        self
    }

    /// Has the container join the namespace at a path.
    pub fn join_namespace(&mut self, kind: &str, path: &str) -> &mut Self {
        self.without_namespace(kind);
        self.add("/linux/namespaces", json!({"type": kind, "path": path}))
    }

    /// Writes `config.json`.
    pub fn save(&self) {
        self.save_text(&serde_json::to_string_pretty(&self.config).expect("JSON"));
    }

    /// Writes a text as `config.json`.
    pub fn save_text(&self, text: &str) {
        std::fs::write(self.bundle().join("config.json"), text).expect("a file in the bundle");
    }
}
