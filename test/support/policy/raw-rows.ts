// Rows of the conformance table as requests on the wire.
import type { Row } from './table-types.ts';

/** HTTP/1.1 has no `:authority` that a `Host` could differ from. */
export function needsHttp2(row: Row): boolean {
  const [, , , { host } = {}] = row;
  return host !== '' && namesHost(row);
}

function namesHost([, , , { headers = [] } = {}]: Row): boolean {
  return headers.some(([name]) => name.toLowerCase() === 'host');
}

/** The lines of the request's head; of a connection, those of some request. */
export function headOf(row: Row): string[] {
  const [, line, , { to = 'orders', host = to, headers = [] } = {}] = row;
  const request = line === 'connect' ? 'GET /' : line;
  const lines = headers.map(([name, value]) => `${name}: ${value}`);
  return [`${request} HTTP/1.1`, ...(namesHost(row) ? [] : [`Host: ${host}`]), ...lines, 'Connection: close'];
}

/** The fields of the request over HTTP/2. */
export function fieldsOf(row: Row): readonly (readonly [string, string])[] {
  const [, line, , { to = 'orders', host = to, headers = [] } = {}] = row;
  const [method = '', path = ''] = line.split(' ');
  const pseudo = [
    [':method', method],
    [':path', path],
    [':scheme', 'https'],
    [':authority', host],
  ] as const;
  return [...pseudo, ...headers];
}
