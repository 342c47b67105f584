import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { recordOfEntry } from '../../../cli/entry-fields.ts';
import { entriesOfFile } from '../../../cli/entry-file.ts';
import { EntrySchema } from '../../../proto/gen/spire/api/types/entry_pb.ts';

const FIELDS = {
  id: 'a',
  spiffeId: { trustDomain: 'example.org', path: '/web' },
  parentId: { trustDomain: 'example.org', path: '/node' },
  selectors: [{ type: 'unix', value: 'uid:1' }],
  x509SvidTtl: 1800,
  federatesWith: ['other.org'],
  dnsNames: ['a.example'],
  hint: 'in',
  admin: true,
  downstream: true,
  storeSvid: true,
  expiresAt: 1_999_999_999n,
  additionalAttributes: { disableX509SvidPrefetch: true, jwtSvidIncludeJti: true },
  countersignJwtClaims: { team: 'payments', list: [1, { a: null }] },
};

test('reads back every field of what is printed, as a list or under entries', async () => {
  const record = recordOfEntry(create(EntrySchema, { ...FIELDS, createdAt: 1_700_000_000n, revisionNumber: 4n }));
  for (const document of [[record], { entries: [record] }]) {
    const [read] = await entriesOfFile(JSON.stringify(document), 'x');
    expect(create(EntrySchema, read)).toEqual(create(EntrySchema, FIELDS));
  }
});

test.each([
  { spiffe_id: 'spiffe://example.org/a', parent_id: 'spiffe://example.org/b', selectors: ['a:b'], x509_svid_ttl: 5 },
  { spiffeID: 'spiffe://example.org/a', parentID: 'spiffe://example.org/b', selectors: ['a:b'], x509SVIDTTL: '5s' },
  {
    spiffeId: 'spiffe://example.org/a',
    parentId: 'spiffe://example.org/b',
    selectors: [{ type: 'a', value: 'b' }],
    x509SvidTtl: 5,
  },
])('takes the names in each spelling', async (fields) => {
  expect(await entriesOfFile(JSON.stringify({ entries: [fields] }), 'x')).toMatchObject([
    { spiffeId: { path: '/a' }, parentId: { path: '/b' }, x509SvidTtl: 5 },
  ]);
});

test('an unknown key is refused with the names as they are documented', async () => {
  await expect(entriesOfFile('[{ttl: 3}]', 'x')).rejects.toThrow(
    /entries\[0\]\.ttl: unknown key; known here: entryId, spiffeId, parentId/,
  );
});

test.each(['a: [', '[1', '- {'])('what is no YAML is refused with the name of the file: %s', async (text) => {
  await expect(entriesOfFile(text, 'entries.yaml')).rejects.toMatchObject({
    code: 'invalid_argument',
    message: expect.stringMatching(/^entries\.yaml is neither/),
  });
});
