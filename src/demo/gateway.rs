//! The gateway inside the demo's process, with `config/demo.toml`.

use std::env::VarError;
use std::net::SocketAddr;

use axum::Router;

use crate::app::{App, AppError};
use crate::config::render::{self, Style};
use crate::config::{self, Config, Source};

use super::DemoError;

const CONFIG: &str = include_str!("../../config/demo.toml");
const CONFIG_NAME: &str = "config/demo.toml";

/// `config/demo.toml` with its three variables filled in.
pub(super) fn config(database_url: &str, listen: SocketAddr, admin: SocketAddr) -> Result<Config, DemoError> {
    let variable = |name: &str| match name {
        "WALCAST_DEMO_DATABASE_URL" => Ok(database_url.to_owned()),
        "WALCAST_DEMO_LISTEN" => Ok(listen.to_string()),
        "WALCAST_DEMO_ADMIN" => Ok(admin.to_string()),
        _ => Err(VarError::NotPresent),
    };
    let loaded = config::parse(Source::new(CONFIG_NAME.to_owned(), CONFIG.to_owned()), &variable);
    loaded.config.ok_or_else(|| DemoError::Config(render::text(&loaded.findings, &loaded.source, Style::Plain)))
}

/// Starts it and waits until it is ready; `pages` are on its admin listener.
pub(super) async fn start(config: &Config, pages: Router) -> Result<App, AppError> {
    let mut app = App::start(config, pages)?;
    app.ready().await?;
    Ok(app)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

    #[test]
    fn the_demos_config_is_valid() {
        let [listen, admin] = ["127.0.0.1:4000", "127.0.0.1:4001"].map(|address| address.parse().unwrap());
        let config = config("postgres://postgres@127.0.0.1:5432/postgres", listen, admin).unwrap();
        assert_eq!(config.server.listen, [Address::Tcp(listen)]);
        assert_eq!(config.server.admin, [Address::Tcp(admin)]);
        assert_eq!((config.routes.len(), config.channels.len()), (8, 2));
    }
}
