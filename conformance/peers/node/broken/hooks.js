// What Node calls for each module that it loads: the sources of the peer are changed here. Knows nothing of what is changed.

let edits = [];

export function initialize(data) {
  edits = data;
}

export async function load(url, context, next) {
  const loaded = await next(url, context);
  const mine = edits.filter((edit) => edit.url === url);
  if (mine.length === 0) return loaded;
  return { ...loaded, source: mine.reduce(changed, loaded.source.toString()) };
}

/** The text with the change made; an entry whose place is gone, or is there twice, would test nothing. */
export function changed(text, { name, file, from, to }) {
  if (text.split(from).length !== 2) throw new Error(`${name}: ${file} must have this once: ${from}`);
  return text.replace(from, () => to);
}
