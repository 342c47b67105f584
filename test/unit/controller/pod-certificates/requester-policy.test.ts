import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';

import { requesterPolicy } from '../../../../controller/pod-certificates/requester-policy.ts';

test('the manifests hold the policy', () => {
  const file = join(import.meta.dirname, '../../../../manifests/base/controller/requester-policy.yaml');
  const written = parseAllDocuments(readFileSync(file, 'utf8')).map((document): unknown => document.toJS());
  expect(written).toEqual(requesterPolicy({ name: 'countersign-pod-certificates', signerName: 'countersign.dev/svid' }));
});
