import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { checkStorable, entryChangeFromProto, entryToProto, newEntryFromProto } from '../../../../ca/api/entry-conversion.ts';
import { EntryMaskSchema, EntrySchema, type Entry } from '../../../../proto/gen/spire/api/types/entry_pb.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import { codeOf, thrownBy } from '../../../support/thrown-by.ts';

const own = parseTrustDomain('example.org');
type Init = Exclude<MessageInitShape<typeof EntrySchema>, Entry>;
const id = (path: string, trustDomain = 'example.org') => ({ trustDomain, path });
const GOOD: Init = {
  spiffeId: id('/web'),
  parentId: id('/spire/agent/x509pop/a'),
  selectors: [{ type: 'unix', value: 'uid:1' }],
};
const read = (change: Init) => newEntryFromProto(create(EntrySchema, { ...GOOD, ...change }), own);

describe('an entry of a request', () => {
  test('is read with its selectors in order and once', () => {
    const selectors = [
      { type: 'unix', value: 'uid:2' },
      { type: 'unix', value: 'uid:1' },
      { type: 'unix', value: 'uid:2' },
    ];
    expect(read({ selectors }).selectors).toEqual([
      { type: 'unix', value: 'uid:1' },
      { type: 'unix', value: 'uid:2' },
    ]);
    expect(read({ dnsNames: ['b', 'a', 'b'] }).dnsNames).toEqual(['b', 'a']);
    expect(read({})).not.toHaveProperty('id');
    expect(read({ id: 'ctrl.web-1_a' })).toHaveProperty('id', 'ctrl.web-1_a');
  });

  const faults: readonly [string, Init][] = [
    ['spiffe_id', { spiffeId: undefined }],
    ['spiffe_id', { spiffeId: id('') }],
    ['spiffe_id', { spiffeId: id('/spire/x') }],
    ['spiffe_id', { spiffeId: id('/web', 'other.example') }],
    ['spiffe_id.path', { spiffeId: id('web') }],
    ['spiffe_id.path', { spiffeId: id('/web/') }],
    ['spiffe_id.path', { spiffeId: id('/a/../b') }],
    ['spiffe_id.path', { spiffeId: id('/%61') }],
    ['spiffe_id.path', { spiffeId: id(`/${'a'.repeat(2048)}`) }],
    ['spiffe_id.trust_domain', { spiffeId: id('/web', '') }],
    ['spiffe_id.trust_domain', { spiffeId: id('/web', 'Example.org') }],
    ['spiffe_id.trust_domain', { spiffeId: id('/web', 'user@example.org:80') }],
    ['parent_id', { parentId: undefined }],
    ['parent_id', { parentId: id('') }],
    ['selectors', { selectors: [] }],
    ['selectors[0]', { selectors: [{ type: '', value: 'x' }] }],
    ['selectors[0]', { selectors: [{ type: 'a:b', value: 'x' }] }],
    [
      'selectors[1]',
      {
        selectors: [
          { type: 'a', value: 'x' },
          { type: 'a', value: '' },
        ],
      },
    ],
    ['x509_svid_ttl', { x509SvidTtl: -1 }],
    ['jwt_svid_ttl', { jwtSvidTtl: -1 }],
    ['federates_with[0]', { federatesWith: ['UPPER'] }],
    ['expires_at', { expiresAt: -1n }],
    ['expires_at', { expiresAt: 2n ** 62n }],
    ['dns_names[1]', { dnsNames: ['a', 'b/c'] }],
    ['hint', { hint: 'h'.repeat(1025) }],
    ['id', { id: 'a/b' }],
    ['id', { id: 'a'.repeat(256) }],
    [
      'selectors',
      {
        storeSvid: true,
        selectors: [
          { type: 'a', value: 'x' },
          { type: 'b', value: 'x' },
        ],
      },
    ],
    ['additional_attributes', { storeSvid: true, additionalAttributes: { disableX509SvidPrefetch: true } }],
  ];
  test.each(faults)('is refused for its %s (%#)', (field, change) => {
    expect(thrownBy(() => read(change))).toMatchObject({ code: 'invalid_argument', field });
  });

  const deep = JSON.parse('{"a":'.repeat(9) + '1' + '}'.repeat(9)) as Record<string, never>; // Sound: it is an object.
  test.each([
    ['a registered claim', { sub: 'spiffe://example.org/other' }],
    ['a claim that binds a token', { cnf: {} }],
    ['a claim without a name', { '': 1 }],
    ['too many', Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`c${index}`, 1]))],
    ['too much', { text: 'ü'.repeat(2048) }],
    ['what is nested too deep', deep],
  ])('is refused for %s among its custom claims', (_what, countersignJwtClaims) => {
    const refused = { code: 'invalid_argument', field: 'countersign_jwt_claims' };
    expect(thrownBy(() => read({ countersignJwtClaims }))).toMatchObject(refused);
  });

  test('keeps its custom claims from a client that does not know them, and loses them to an empty object', () => {
    const change = (init: Init, mask?: Parameters<typeof entryChangeFromProto>[2]) =>
      entryChangeFromProto(create(EntrySchema, { ...GOOD, ...init }), own, mask);
    const claims = { team: 'payments' };
    const onlyClaims = create(EntryMaskSchema, { countersignJwtClaims: true });
    expect(read({ countersignJwtClaims: claims })).toHaveProperty('jwtClaims', claims);
    expect(change({})).not.toHaveProperty('jwtClaims');
    expect(change({ countersignJwtClaims: claims })).toHaveProperty('jwtClaims', claims);
    expect(change({ countersignJwtClaims: {} })).toHaveProperty('jwtClaims', undefined);
    expect(change({ countersignJwtClaims: claims }, create(EntryMaskSchema, { hint: true }))).toEqual({ hint: '' });
    expect(change({ countersignJwtClaims: claims }, onlyClaims)).toEqual({ jwtClaims: claims });
    expect(change({}, onlyClaims)).toEqual({ jwtClaims: undefined });
    const entry = { ...read({ countersignJwtClaims: claims }), id: 'one', revisionNumber: 3, createdAtSeconds: 7 };
    expect(entryToProto(entry).countersignJwtClaims).toEqual(claims);
    expect(entryToProto(entry, onlyClaims)).toEqual({ id: 'one', countersignJwtClaims: claims });
    expect(entryToProto(entry, create(EntryMaskSchema, { hint: true }))).not.toHaveProperty('countersignJwtClaims');
  });

  test('is written with the fields that a mask names, and always its ID', () => {
    const entry = { ...read({ hint: 'h', admin: true }), id: 'one', revisionNumber: 3, createdAtSeconds: 7 };
    expect(entryToProto(entry)).toMatchObject({ id: 'one', hint: 'h', admin: true, revisionNumber: 3n, createdAt: 7n });
    expect(entryToProto(entry, create(EntryMaskSchema, { hint: true }))).toEqual({ id: 'one', hint: 'h' });
  });

  test('is read for an update as far as the mask goes', () => {
    const proto = create(EntrySchema, { hint: 'h', x509SvidTtl: -5 });
    expect(entryChangeFromProto(proto, own, create(EntryMaskSchema, { hint: true, admin: true }))).toEqual({
      hint: 'h',
      admin: false,
    });
    expect(codeOf(() => entryChangeFromProto(proto, own, undefined))).toBe('invalid_argument');
    expect(codeOf(() => checkStorable({ storeSvid: false, selectors: [], disableX509SvidPrefetch: true }))).toBeUndefined();
  });
});
