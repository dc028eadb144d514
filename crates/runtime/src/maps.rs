//! Maps of a user namespace: which ids of the host the ids of the container are (user_namespaces(7)).

use std::fmt::Write as _;

use holm_spec::runtime::LinuxIdMapping;

use crate::error::{Error, Result};

/// Most ranges that the kernel takes in one map.
const RANGES_LIMIT: usize = 340;

/// The two maps of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maps {
    /// Of users.
    pub uids: IdMap,
    /// Of groups.
    pub gids: IdMap,
}

/// A range of ids each: first inside, first outside, how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap(Vec<[u32; 3]>);

impl Maps {
    /// The maps of an OCI configuration; `None` if there are none.
    ///
    /// # Errors
    /// Only one of the two; a range that is empty or beyond 32 bits; more ranges than the kernel takes.
    pub fn from_oci(
        uids: Option<&Vec<LinuxIdMapping>>,
        gids: Option<&Vec<LinuxIdMapping>>,
    ) -> Result<Option<Self>> {
        let given = |list: Option<&Vec<LinuxIdMapping>>| list.is_some_and(|list| !list.is_empty());
        match (given(uids), given(gids)) {
            (false, false) => Ok(None),
            (true, true) => Ok(Some(Self {
                uids: IdMap::from_oci("uidMappings", uids)?,
                gids: IdMap::from_oci("gidMappings", gids)?,
            })),
            (true, false) => Err(Error::invalid("a user namespace needs `gidMappings` beside `uidMappings`")),
            (false, true) => Err(Error::invalid("a user namespace needs `uidMappings` beside `gidMappings`")),
        }
    }
}

impl IdMap {
    fn from_oci(field: &str, list: Option<&Vec<LinuxIdMapping>>) -> Result<Self> {
        let mut ranges = Vec::new();
        for (index, range) in list.into_iter().flatten().enumerate() {
            let [inside, outside, size] = [range.container_id(), range.host_id(), range.size()];
            if size == 0 || inside.checked_add(size - 1).is_none() || outside.checked_add(size - 1).is_none()
            {
                return Err(Error::invalid(format!(
                    "`{field}[{index}]`: no range of ids: {inside} {outside} {size}"
                )));
            }
            ranges.push([inside, outside, size]);
        }
        if ranges.len() > RANGES_LIMIT {
            return Err(Error::invalid(format!("`{field}`: more than {RANGES_LIMIT} ranges")));
        }
        Ok(Self(ranges))
    }

    /// What an id of the container is on the host.
    pub fn to_host(&self, id: u32) -> Option<u32> {
        let range = self.0.iter().find(|[inside, _, size]| id >= *inside && id - inside < *size)?;
        Some(range[1] + (id - range[0]))
    }

    /// In the form of `/proc/<pid>/uid_map`.
    pub fn to_text(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, [inside, outside, size]| {
            let _ = writeln!(text, "{inside} {outside} {size}");
            text
        })
    }

    /// The ranges: first inside, first outside, how many.
    pub fn ranges(&self) -> &[[u32; 3]] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(ranges: &[[u32; 3]]) -> Result<IdMap> {
        let range = |[inside, outside, size]: &[u32; 3]| {
            let document = format!(r#"{{"containerID":{inside},"hostID":{outside},"size":{size}}}"#);
            serde_json::from_str(&document).expect("valid")
        };
        let list = ranges.iter().map(range).collect();
        IdMap::from_oci("uidMappings", Some(&list))
    }

    #[test]
    fn ids_are_found_in_their_range() {
        let map = map(&[[0, 100_000, 1000], [5000, 7, 1]]).expect("valid");
        assert_eq!(map.to_host(0), Some(100_000));
        assert_eq!(map.to_host(999), Some(100_999));
        assert_eq!(map.to_host(1000), None);
        assert_eq!(map.to_host(5000), Some(7));
        assert_eq!(map.to_text(), "0 100000 1000\n5000 7 1\n");
    }

    #[test]
    fn ranges_must_be_ranges() {
        for wrong in [[0, 0, 0], [u32::MAX, 0, 2], [0, u32::MAX, 2]] {
            assert!(map(&[wrong]).is_err(), "{wrong:?}");
        }
        assert!(map(&[[u32::MAX, u32::MAX, 1]]).is_ok());
        assert!(map(&[[0, 0, 1]; 341]).is_err());
        assert_eq!(Maps::from_oci(None, Some(&Vec::new())).expect("valid"), None);
    }
}
