// What the registry knows of a token exchange.
import { parseDocument } from 'yaml';
import { caConfig, type CaConfig } from '../../ca/config.ts';
import type { Authority } from '../../ca/model.ts';
import { decode } from '../../core/decode.ts';
import { createTestKey } from './test-keys.ts';

/** An authority whose key signs exchanged tokens. */
export function exchangeAuthority(id: string): Authority {
  const published = { expiresAtSeconds: 0, tainted: false, replicaId: 'r', upstreamSubjectKeyId: '' };
  return { kind: 'exchange', id, publicBytes: createTestKey().spki, ...published };
}

/** A configuration with `listen.token`. */
export function exchangeConfig(): CaConfig {
  const text = `trustDomain: example.org
dataDir: /data
listen: { grpc: "127.0.0.1:1", admin: "unix:/a.sock", token: "127.0.0.1:2" }
tokenExchange: { issuer: "https://token.example.org" }`;
  return decode(caConfig('/'), parseDocument(text).toJS());
}
