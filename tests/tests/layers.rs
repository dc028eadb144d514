//! Layers: what images of several layers come out as, beside what `umoci` of Debian unpacks of the same images.
//!
//! Each case is a list of layers. The test writes them as an OCI layout, which `umoci` unpacks as root, and Holm pulls the
//! same image from a server in the test and mounts it. Both trees are listed by one lister and must be the same, entry by
//! entry; where they differ on purpose the case says how and why.

mod layers {
    mod cases;
    mod debian;
    mod expected;
    mod odd;
    mod suite;
    mod tree;
}
