//! The features of `idem-runtime` that options need. Without this check, the compiler would report a method of the
//! builder that does not exist.

use crate::{
    errors::Errors,
    options::{Opt, Options},
    values::Codec,
};

/// The features that are on.
#[derive(Clone, Copy)]
pub(crate) struct Features {
    tx: bool,
    tokio: bool,
    bincode: bool,
}

impl Features {
    /// The features that `idem-runtime` passes on to this crate.
    pub(crate) const ON: Self =
        Self { tx: cfg!(feature = "tx"), tokio: cfg!(feature = "tokio"), bincode: cfg!(feature = "bincode") };

    /// Adds a mistake for each option whose feature is off.
    pub(crate) fn check(self, options: &Options, errors: &mut Errors) {
        let bincode = options.codec.as_ref().filter(|codec| matches!(codec.value, Codec::Bincode));
        let needed = [
            (options.tx.as_ref().map(|Opt { name, .. }| name), "tx", "tx", self.tx),
            (options.detach.as_ref().map(|Opt { name, .. }| name), "detach", "tokio", self.tokio),
            (bincode.map(|Opt { name, .. }| name), "codec = bincode", "bincode", self.bincode),
        ];
        for (name, option, feature, is_on) in needed {
            let Some(name) = name.filter(|_| !is_on) else { continue };
            errors.at(
                name,
                format_args!("`{option}` needs more: switch on the feature `{feature}` of `idem-runtime`"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Features;
    use crate::{errors::Errors, options::Options};

    /// The ui cases are compiled with all features, so this message has its test here.
    #[test]
    fn an_option_without_its_feature_names_the_feature() {
        let options = quote::quote! { key = id, tx = conn, detach, codec = bincode };
        let mut errors = Errors::default();
        let options = Options::parse(options, None, &mut errors);
        Features { tx: true, tokio: true, bincode: true }.check(&options, &mut errors);
        assert!(errors.finish(()).is_ok(), "with the features there is no mistake");

        let mut errors = Errors::default();
        Features { tx: false, tokio: false, bincode: false }.check(&options, &mut errors);
        let messages = errors.finish(()).unwrap_err().to_string();
        for (option, feature) in [("tx", "tx"), ("detach", "tokio"), ("codec = bincode", "bincode")] {
            let message =
                format!("`{option}` needs more: switch on the feature `{feature}` of `idem-runtime`");
            assert!(messages.contains(&message), "{messages}");
        }
    }
}
