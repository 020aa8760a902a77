// Rows by their key, kept current by `new_updates`, and shown as a list of elements that stay with their row.

const LEAVING_MS = 600;

/** The rows of one table with the primary key `id`. */
export class Rows {
  #rows = new Map();
  #changes = new Map();

  constructor(table) {
    this.table = table;
  }

  get size() {
    return this.#rows.size;
  }

  values() {
    return [...this.#rows.values()];
  }

  /** Begins afresh with `rows`. */
  replace(rows) {
    this.#rows = new Map(rows.map((row) => [row.id, row]));
    this.#changes.clear();
  }

  /** Applies a `new_updates` payload: one transaction, or a part of one. */
  apply(payload) {
    if (payload.snapshot && !payload.part) this.replace([]);
    for (const update of payload.updates) {
      if (update.table === this.table) this.#applyOne(update);
    }
  }

  #applyOne({ op, record, old_record: old, omitted = [] }) {
    if (op === "truncate") return this.replace([]);
    if (op === "delete") return this.#remove(old.id);
    // The key itself may change.
    if (old && "id" in old && old.id !== record.id) this.#remove(old.id);
    const before = this.#rows.get(record.id);
    // Values that did not change may be missing (`unchanged`): those stay as they are. Too large ones are unknown.
    const after = { ...before, ...record };
    for (const column of omitted) delete after[column];
    this.#rows.set(record.id, after);
    const columns = before ? Object.keys(after).filter((name) => before[name] !== after[name]) : [];
    this.#changes.set(record.id, { kind: before ? "update" : "insert", columns });
  }

  #remove(id) {
    this.#rows.delete(id);
    this.#changes.delete(id);
  }

  /** What changed since the last call: `id → {kind: "insert" | "update", columns}`. */
  takeChanges() {
    const changes = this.#changes;
    this.#changes = new Map();
    return changes;
  }
}

/** Elements for the first `limit` rows in order; an element is made once for a row and then only brought up to date. */
export class RowList {
  #elements = new Map();

  constructor(parent, { create, fill, compare, limit }) {
    Object.assign(this, { parent, create, fill, compare, limit });
  }

  /** Shows `rows`; returns how many there is no room for. */
  render(rows, changes) {
    const sorted = rows.sort(this.compare);
    const shown = sorted.slice(0, this.limit);
    const ids = new Set(shown.map((row) => row.id));
    for (const [id, element] of this.#elements) {
      if (!ids.has(id)) this.#leave(id, element);
    }
    // Elements on their way out keep their place: the others are put in order around them.
    let next = this.#firstStaying();
    for (const row of shown) {
      const element = this.#elementFor(row, changes.get(row.id));
      if (element === next) next = this.#stayingAfter(next);
      else this.parent.insertBefore(element, next);
    }
    return sorted.length - shown.length;
  }

  /** Other rows come next: those shown were not deleted, they only go. */
  clear() {
    this.#elements.clear();
    this.parent.replaceChildren();
  }

  #elementFor(row, change) {
    let element = this.#elements.get(row.id);
    if (!element) {
      element = this.create();
      this.#elements.set(row.id, element);
    }
    this.fill(element, row);
    if (change) flash(element, change);
    return element;
  }

  #leave(id, element) {
    this.#elements.delete(id);
    element.classList.add("leaving");
    setTimeout(() => element.remove(), LEAVING_MS);
  }

  #firstStaying() {
    const first = this.parent.firstElementChild;
    return first?.classList.contains("leaving") ? this.#stayingAfter(first) : first;
  }

  #stayingAfter(element) {
    let next = element.nextElementSibling;
    while (next?.classList.contains("leaving")) next = next.nextElementSibling;
    return next;
  }
}

function flash(element, { kind, columns }) {
  restart(element, kind === "insert" ? "inserted" : "updated");
  for (const column of columns) {
    // An age counts by itself; the change is in the other columns.
    const cell = element.querySelector(`[data-column="${CSS.escape(column)}"]:not(time)`);
    if (cell) restart(cell, "changed");
  }
}

/** An animation that is running begins again. */
export function restart(element, name) {
  element.classList.remove("inserted", "updated", name);
  void element.offsetWidth;
  element.classList.add(name);
}
