//! The official `phoenix` client, unmodified: two devices of one user.

use super::start;
use crate::support::node::Script;

#[tokio::test]
async fn two_devices_of_the_official_client_edit_one_note() {
    let (database, gateway) = start("columns = [\"title\", \"body\"]", "").await;
    for (client, vsn) in [("phoenix", "2.0.0"), ("phoenix-1-7", "2.0.0"), ("phoenix", "1.0.0")] {
        let socket = gateway.socket_url();
        let variables = [("WALCAST_SOCKET", socket.as_str()), ("WALCAST_CLIENT", client), ("WALCAST_VSN", vsn)];
        let mut script = Script::start("sync.mjs", &variables);
        script.until("done").await;
        script.succeed().await;
        // For the next client these are new requests.
        database.execute("delete from walcast.mutations").await;
    }
}
