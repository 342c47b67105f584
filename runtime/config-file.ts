import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import { decode, DecodeError, map, string, type Decoder } from '../core/decode.ts';
import { IdentityError } from '../core/errors.ts';

/** Where a process listens, or where a client connects. */
export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/**
 * Reads a YAML configuration file into a validated value. `schema` gets the folder of the file, because relative paths in
 * a configuration are relative to the file that names them.
 *
 * @throws IdentityError `invalid_argument` that lists every fault with its path, or that the file cannot be read
 */
export async function loadConfigFile<T>(file: string, schema: (baseDir: string) => Decoder<T>): Promise<T> {
  const text = await readConfigText(file);
  const input = await parseYaml(file, text);
  try {
    return decode(schema(resolve(dirname(file))), input);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    const faults = error.faults.map(({ path, message }) => `  ${path === '' ? '(whole file)' : path}: ${message}`);
    throw new IdentityError('invalid_argument', `${file} has ${faults.length} fault(s):\n${faults.join('\n')}`, { cause: error });
  }
}

async function readConfigText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError(
      'invalid_argument',
      `cannot read the configuration file ${file} (${why}); name it with --config FILE`,
      { cause },
    );
  }
}

async function parseYaml(file: string, text: string): Promise<unknown> {
  const { parseDocument } = await import('./yaml.ts');
  const document = parseDocument(text, { prettyErrors: true, uniqueKeys: true });
  const [first] = document.errors;
  if (first !== undefined)
    throw new IdentityError('invalid_argument', `${file} is no valid YAML: ${first.message}`, { cause: first });
  return document.toJS({ maxAliasCount: 10 });
}

/** A file or folder path; relative ones are relative to the configuration file's folder. */
export function filePath(baseDir: string): Decoder<string> {
  return map(string(), (text) => resolve(baseDir, text));
}

/** `host:port`, `[v6]:port` or `unix:PATH`. */
export function listenAddress(baseDir: string): Decoder<ListenAddress> {
  return map(string(), (text) => parseListenAddress(text, baseDir));
}

/**
 * Reads `host:port`, `[v6]:port`, `unix:PATH` or `unix://PATH`; relative paths are relative to `baseDir`.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseListenAddress(text: string, baseDir: string): ListenAddress {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
    if (path === '') throw new IdentityError('invalid_argument', 'unix: needs a path, such as unix:./run/admin.sock');
    return unixAddress(resolve(baseDir, path));
  }
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65_535) {
    throw new IdentityError('invalid_argument', `"${text}" is no address; write host:port, [v6]:port or unix:PATH`);
  }
  return { kind: 'tcp', host, port };
}

function unixAddress(path: string): ListenAddress {
  // sun_path holds 108 bytes with its NUL (unix(7)); the kernel would cut or refuse a longer one with an unclear error.
  const bytes = Buffer.byteLength(path);
  if (bytes > 107) throw new IdentityError('invalid_argument', `socket path is ${bytes} bytes long, 107 are possible: ${path}`);
  return { kind: 'unix', path };
}

/** The text that {@link parseListenAddress} reads back. */
export function formatListenAddress(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
