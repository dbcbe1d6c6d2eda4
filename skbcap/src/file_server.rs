//! Where a file's bytes go when the file system they are written to is a server's: NFS, SMB.
//!
//! Pure: reads what `/proc` says of mounts. Knows nothing of captures.

use std::fmt;
use std::net::IpAddr;

use crate::filter::peer::{Peer, Transport};

/// `NFS_PORT`.
const NFS: u16 = 2049;
/// `CIFS_PORT`, and `RFC1001_PORT`, which the kernel tries next. It tells of no port.
const SMB: [u16; 2] = [445, 139];

/// A file system's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileServer {
    /// The file system's type, as it is mounted: `nfs4`.
    pub file_system: String,
    /// Whom the kernel sends what is written.
    pub peer: Peer,
}

/// A file system is a server's, but not whose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the output lies on a network file system ({0}) whose server is not known: what is sent there is \
     captured, and written, again and again"
)]
pub struct UnknownServer(pub String);

impl FileServer {
    /// The server of the file system of this device number, major and minor (`st_dev`); [`None`] if
    /// the file system is not known to have one.
    ///
    /// `mounts` is `/proc/self/mountinfo`, where all mounts of a file system have its number, and say
    /// the same of it. `volumes` is `/proc/net/nfsfs/volumes`, which knows the port that NFS before
    /// version 4 was told of by the server's port mapper.
    #[must_use]
    pub fn find(
        device: (u32, u32),
        mounts: &str,
        volumes: &str,
    ) -> Option<Result<Self, UnknownServer>> {
        let mut mounts = mounts.lines().filter_map(Mount::read);
        let mount = mounts.find(|mount| mount.device == device)?;
        let file_system = mount.file_system;
        let ports = match file_system {
            "nfs" | "nfs4" => mount.nfs_ports(volumes),
            "cifs" | "smb3" => SMB.to_vec(),
            _ => return None,
        };
        let unknown = || UnknownServer(file_system.to_owned());
        Some(mount.address().ok_or_else(unknown).map(|address| Self {
            file_system: file_system.to_owned(),
            peer: Peer {
                address,
                transport: mount.transport(),
                ports,
            },
        }))
    }
}

/// What is left out.
impl fmt::Display for FileServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Peer {
            address,
            transport,
            ports,
        } = &self.peer;
        let transport = match transport {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        };
        write!(
            out,
            "the output lies on {address} ({}): frames to and from its ",
            self.file_system
        )?;
        match &ports[..] {
            [] => write!(out, "{transport} ports, which are not known, all of them,")?,
            [port] => write!(out, "{transport} port {port}")?,
            ports => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                write!(out, "{transport} ports {}", ports.join(" and "))?;
            }
        }
        out.write_str(" are left out")
    }
}

/// A line of mountinfo (`show_mountinfo` in Linux `fs/proc_namespace.c`). What stands in it has no
/// space, no comma of its own and no line's end: these are escaped.
struct Mount<'a> {
    device: (u32, u32),
    file_system: &'a str,
    /// The file system's, not the mount's.
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split(' ');
        let (major, minor) = fields.nth(2)?.split_once(':')?;
        // The root, the mount point, the mount's options, and any number of other fields.
        fields.nth(2)?;
        fields.find(|field| *field == "-")?;
        let file_system = fields.next()?;
        let options = fields.nth(1)?;
        Some(Self {
            device: (major.parse().ok()?, minor.parse().ok()?),
            file_system,
            options,
        })
    }

    /// The value of an option; the last, if there are several.
    fn option(&self, name: &str) -> Option<&'a str> {
        let mut options = self.options.rsplit(',');
        options.find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    fn address(&self) -> Option<IpAddr> {
        let address = self.option("addr")?;
        // A link-local one has its link behind it.
        let address = address.split_once('%').map_or(address, |(plain, _)| plain);
        Some(address.parse::<IpAddr>().ok()?.to_canonical())
    }

    fn transport(&self) -> Transport {
        match self.option("proto") {
            Some("udp" | "udp6") => Transport::Udp,
            _ => Transport::Tcp,
        }
    }

    /// Version 4 tells of a port that is not its own; older ones of none that they asked for.
    fn nfs_ports(&self, volumes: &str) -> Vec<u16> {
        let told = self.option("port").and_then(|port| port.parse().ok());
        if let Some(port @ 1..) = told {
            return vec![port];
        }
        if self.option("vers").is_some_and(|it| it.starts_with('4')) {
            return vec![NFS];
        }
        let (major, minor) = self.device;
        let device = format!("{major}:{minor}");
        let port = volumes.lines().find_map(|line| {
            // Version, address, port, device.
            let mut fields = line.split_whitespace().skip(2);
            let port = u16::from_str_radix(fields.next()?, 16).ok()?;
            (fields.next()? == device && port != 0).then_some(port)
        });
        port.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a machine has them; the mount points have all that is escaped.
    const MOUNTS: &str = r"21 28 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
91 28 0:52 / /mnt/a\040-\040b\011\012\134c rw,relatime shared:52 - nfs 10.0.0.2:/export rw,vers=3,rsize=1048576,wsize=1048576,namlen=255,hard,proto=tcp,timeo=600,retrans=2,sec=sys,mountaddr=10.0.0.9,mountvers=3,mountport=20048,mountproto=udp,local_lock=none,addr=10.0.0.2
92 28 0:53 / /mnt/port rw,relatime shared:52 master:7 propagate_from:2 - nfs 10.0.0.3:/export rw,vers=3,rsize=8192,wsize=8192,namlen=255,hard,nolock,proto=udp,port=2050,timeo=11,retrans=3,sec=sys,mountaddr=10.0.0.3,mountvers=3,mountport=635,mountproto=udp,local_lock=all,addr=10.0.0.3
93 28 0:54 /sub /mnt/four rw,relatime - nfs4 server:/export rw,vers=4.2,rsize=262144,wsize=262144,namlen=255,hard,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=10.0.0.1,local_lock=none,addr=10.0.0.4
94 93 0:55 / /mnt/six rw,relatime - nfs4 [fd00::2]:/ rw,vers=4.1,proto=tcp6,port=20490,timeo=600,retrans=2,sec=sys,clientaddr=fd00::1,local_lock=none,addr=fd00::2
95 28 0:56 / /mnt/link rw,relatime - nfs4 [fe80::2%eth0]:/ rw,vers=4.0,proto=tcp6,port=0,timeo=600,sec=sys,clientaddr=fe80::1%2,local_lock=none,addr=fe80::2%2
96 28 0:57 / /mnt/smb rw,relatime shared:60 - cifs //10.0.0.5/share rw,vers=3.1.1,cache=strict,username=a\054addr\0751.2.3.4,uid=0,noforceuid,gid=0,noforcegid,addr=10.0.0.5,file_mode=0755,dir_mode=0755,soft,nounix,serverino,mapposix,rsize=4194304,wsize=4194304,bsize=1048576,echo_interval=60,actimeo=1,closetimeo=1
97 28 0:58 / /mnt/smb6 rw,relatime - smb3 //six/share rw,vers=3.1.1,addr=fd00:0000:0000:0000:0000:0000:0000:0006,file_mode=0755
98 28 0:54 / /srv/bound rw,relatime - nfs4 server:/export rw,vers=4.2,proto=tcp,sec=sys,clientaddr=10.0.0.1,addr=10.0.0.4
99 91 0:60 / /mnt/a\040-\040b\011\012\134c rw,relatime - tmpfs tmpfs rw,size=8k
100 28 0:61 / /mnt/nobody rw,relatime - nfs4 nobody:/ rw,vers=4.2,proto=tcp,addr=(unknown)
101 28 0:62 / /mnt/nine rw,relatime - 9p nine rw,access=any,trans=virtio
";
    const VOLUMES: &str = "NV SERVER   PORT DEV          FSID                              FSC
v3 0a000003 802 0:53         0:0                               no 
v3 0a000002 801 0:52         0:0                               no 
v4 0a000004 801 0:54         0:0                               no 
";

    fn found(minor: u32, volumes: &str) -> Option<String> {
        let found = FileServer::find((0, minor), MOUNTS, volumes)?;
        let found = found.map(|server| {
            let Peer {
                address,
                transport,
                ports,
            } = &server.peer;
            format!("{} {address} {transport:?} {ports:?}", server.file_system)
        });
        Some(found.unwrap_or_else(|error| error.to_string()))
    }

    #[test]
    fn nfs_has_the_port_that_is_told() {
        assert_eq!(found(52, VOLUMES).unwrap(), "nfs 10.0.0.2 Tcp [2049]");
        assert_eq!(found(52, "").unwrap(), "nfs 10.0.0.2 Tcp []");
        let unbound = VOLUMES.replace("801", "0");
        assert_eq!(found(52, &unbound).unwrap(), "nfs 10.0.0.2 Tcp []");
        assert_eq!(found(53, "").unwrap(), "nfs 10.0.0.3 Udp [2050]");
    }

    #[test]
    fn nfs_version_4_has_its_own_port() {
        assert_eq!(found(54, "").unwrap(), "nfs4 10.0.0.4 Tcp [2049]");
        assert_eq!(found(55, "").unwrap(), "nfs4 fd00::2 Tcp [20490]");
        assert_eq!(found(56, "").unwrap(), "nfs4 fe80::2 Tcp [2049]");
    }

    #[test]
    fn smb_has_two_ports() {
        assert_eq!(found(57, "").unwrap(), "cifs 10.0.0.5 Tcp [445, 139]");
        assert_eq!(found(58, "").unwrap(), "smb3 fd00::6 Tcp [445, 139]");
    }

    #[test]
    fn other_file_systems_have_no_server() {
        for minor in [20, 60, 62, 63] {
            assert_eq!(found(minor, VOLUMES), None, "{minor}");
        }
        assert_eq!(FileServer::find((254, 1), MOUNTS, VOLUMES), None);
        assert_eq!(FileServer::find((0, 52), "", VOLUMES), None);
    }

    #[test]
    fn a_server_without_an_address_is_told_of() {
        let told = found(61, "").unwrap();
        assert!(told.contains("(nfs4) whose server is not known"), "{told}");
    }

    #[test]
    fn it_is_said_what_is_left_out() {
        let said = |minor, volumes| {
            let server = FileServer::find((0, minor), MOUNTS, volumes).unwrap();
            server.unwrap().to_string()
        };
        assert_eq!(
            said(54, ""),
            "the output lies on 10.0.0.4 (nfs4): frames to and from its TCP port 2049 are left out"
        );
        assert_eq!(
            said(57, ""),
            "the output lies on 10.0.0.5 (cifs): frames to and from its TCP ports 445 and 139 are \
             left out"
        );
        assert_eq!(
            said(52, ""),
            "the output lies on 10.0.0.2 (nfs): frames to and from its TCP ports, which are not \
             known, all of them, are left out"
        );
    }
}
