//! Values as `row_to_json` writes them, straight into the output buffer.
