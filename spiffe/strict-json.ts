import { IdentityError } from '../core/errors.ts';

/** A JSON object, as it was read. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Reads a JSON object from UTF-8 and refuses what readers understand differently: names that occur twice (RFC 8259 §4, RFC 7519
 * §4), bytes that are not UTF-8, a byte order mark.
 *
 * @throws IdentityError `invalid_argument`, naming `field`
 */
export function parseJsonObject(json: Uint8Array | string, field: string, reviver?: JsonReviver): JsonObject {
  const fault = (message: string, cause?: unknown): IdentityError =>
    new IdentityError('invalid_argument', message, { field, cause });
  let text: string;
  let value: unknown;
  try {
    text = typeof json === 'string' ? json : new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json);
    value = JSON.parse(text, reviver);
  } catch {
    // The parser's own message quotes the text, which may be a token: it is dropped.
    throw fault('is not JSON');
  }
  if (!isJsonObject(value)) throw fault('is no JSON object');
  if (hasDuplicateName(text)) throw fault('has a name twice in one JSON object');
  return value;
}

/** As `JSON.parse` takes it; `context.source` is the text of a primitive value. */
export type JsonReviver = (this: unknown, name: string, value: unknown, context?: { readonly source?: string }) => unknown;

/** Whether a value is a JSON object: neither null nor an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const [QUOTE, BACKSLASH, COLON, OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = [0x22, 0x5c, 0x3a, 0x7b, 0x7d, 0x5b, 0x5d];

/** Whether some object has a name twice; the text is known to be JSON. */
function hasDuplicateName(text: string): boolean {
  const open: (Set<string> | undefined)[] = [];
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === OPEN_OBJECT) open.push(new Set());
    else if (code === OPEN_ARRAY) open.push(undefined);
    else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) open.pop();
    else if (code === QUOTE) {
      const end = endOfString(text, index);
      const names = open.at(-1);
      if (names !== undefined && isColonNext(text, end + 1)) {
        const literal = text.slice(index, end + 1);
        const name: unknown = literal.includes('\\') ? JSON.parse(literal) : literal.slice(1, -1);
        if (names.has(String(name))) return true;
        names.add(String(name));
      }
      index = end;
    }
  }
  return false;
}

function endOfString(text: string, start: number): number {
  let end = start + 1;
  while (text.charCodeAt(end) !== QUOTE) end += text.charCodeAt(end) === BACKSLASH ? 2 : 1;
  return end;
}

function isColonNext(text: string, start: number): boolean {
  let index = start;
  while (text.charCodeAt(index) <= 0x20) index++;
  return text.charCodeAt(index) === COLON;
}
