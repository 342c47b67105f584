import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseTargetPath } from '../../../../agent/csi/target-path.ts';
import { isIdentityError } from '../../../../core/errors.ts';
import { thrownBy } from '../../../support/thrown-by.ts';

const UID = '2c48913c-b29f-11e7-9350-020968147796';
const GOOD = `/var/lib/kubelet/pods/${UID}/volumes/kubernetes.io~csi/spiffe/mount`;

test('a pod’s CSI volume', () => {
  expect(parseTargetPath(GOOD, '/var/lib/kubelet')).toEqual({
    parents: ['pods', UID, 'volumes', 'kubernetes.io~csi', 'spiffe'],
    name: 'mount',
    podUid: UID,
  });
});

describe('refuses', () => {
  test.each([
    '',
    '/',
    'mount',
    GOOD.slice(1),
    `${GOOD}/`,
    `${GOOD}/..`,
    `${GOOD}\n`,
    `${GOOD}\0`,
    `/${GOOD}`,
    GOOD.replace('/var', '/etc'),
    GOOD.replace('kubelet', 'kubelet2'),
    GOOD.replace(UID, '..'),
    GOOD.replace(UID, '.'),
    GOOD.replace(UID, `${UID}/x`),
    GOOD.replace(UID, ''),
    GOOD.replace(UID, 'a'.repeat(65)),
    GOOD.replace('spiffe', '..'),
    GOOD.replace('spiffe', 'a/b'),
    GOOD.replace('spiffe', 'Spiffe'),
    GOOD.replace('spiffe', 'a'.repeat(64)),
    GOOD.replace('/spiffe', '//spiffe'),
    GOOD.replace('~csi', '~empty-dir'),
    GOOD.replace('/pods/', '/plugins/'),
    GOOD.replace('/mount', '/vol_data.json'),
    `/var/lib/kubelet/pods/${UID}/volume-subpaths/x/y/0`,
  ])('%j', (path) => {
    expect(thrownBy(() => parseTargetPath(path, '/var/lib/kubelet'))).toMatchObject({
      code: 'invalid_argument',
      field: 'target_path',
    });
  });

  test('whatever could leave the kubelet’s folder', () => {
    const part = fc.oneof(fc.constantFrom('..', '.', '', 'pods', UID, 'volumes', 'kubernetes.io~csi', 'a', 'mount'), fc.string());
    fc.assert(
      fc.property(fc.array(part, { maxLength: 9 }), (parts) => {
        try {
          const { parents } = parseTargetPath(`/k/${parts.join('/')}`, '/k');
          return parents.every((name) => name !== '..' && name !== '.' && !name.includes('/'));
        } catch (error) {
          return isIdentityError(error, 'invalid_argument');
        }
      }),
    );
  });
});
