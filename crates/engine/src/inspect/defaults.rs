//! What `docker inspect` shows of a container where nothing was said, for templates that ask for it.

/// The container itself.
pub(super) const CONTAINER: &str = r#"{
    "Id": "", "Created": "", "Path": "", "Args": [], "State": {}, "Image": "", "ResolvConfPath": "",
    "HostnamePath": "", "HostsPath": "", "LogPath": "", "Name": "", "RestartCount": 0, "Driver": "",
    "Platform": "", "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "", "ExecIDs": null,
    "HostConfig": {}, "GraphDriver": {"Data": null, "Name": "erofs-overlay"}, "Mounts": [], "Config": {},
    "NetworkSettings": {}
}"#;

/// `HostConfig`.
pub(super) const HOST_CONFIG: &str = r#"{
    "Binds": [], "ContainerIDFile": "", "LogConfig": {"Type": "json-file", "Config": {}}, "NetworkMode": "",
    "PortBindings": {}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": false,
    "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [0, 0], "CapAdd": [], "CapDrop": [],
    "CgroupnsMode": "private", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": null,
    "GroupAdd": null, "IpcMode": "private", "Cgroup": "", "Links": null, "OomScoreAdj": 0, "PidMode": "",
    "Privileged": false, "PublishAllPorts": false, "ReadonlyRootfs": false, "SecurityOpt": [],
    "StorageOpt": null, "Tmpfs": {}, "UTSMode": "", "UsernsMode": "", "ShmSize": 67108864, "Sysctls": null,
    "Runtime": "", "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
    "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [],
    "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0,
    "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": [],
    "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
    "MemorySwappiness": null, "OomKillDisable": false, "PidsLimit": null, "Ulimits": [], "CpuCount": 0,
    "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": null, "ReadonlyPaths": null
}"#;

/// `NetworkSettings`.
pub(super) const NETWORK_SETTINGS: &str = r#"{
    "Bridge": "", "SandboxID": "", "SandboxKey": "", "Ports": {}, "HairpinMode": false,
    "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": null,
    "SecondaryIPv6Addresses": null, "EndpointID": "", "Gateway": "", "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
    "Networks": {}
}"#;

/// An entry of `NetworkSettings.Networks`.
pub(super) const NETWORK: &str = r#"{
    "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "", "DriverOpts": null,
    "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
    "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null
}"#;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn every_text_is_an_object() {
        for text in [super::CONTAINER, super::HOST_CONFIG, super::NETWORK_SETTINGS, super::NETWORK] {
            assert!(holm_store::over_defaults(text, json!({})).is_object());
            assert_eq!(
                holm_store::over_defaults(text, Value::Null),
                holm_store::over_defaults(text, json!({}))
            );
        }
    }
}
