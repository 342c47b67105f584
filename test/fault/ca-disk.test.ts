// What a CA process does when its disk takes no more, or cannot be written at all.
import { mkdirSync, renameSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { auditedSerials, serialOf } from '../support/ca-load.ts';
import { failureOf } from '../support/rpc-failure.ts';
import { mountSmallDisk, smallDiskMissing } from '../support/small-disk.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { own, WholeSystem } from '../support/whole-system.ts';
import { fetchX509 } from '../support/workload.ts';

const missing = smallDiskMissing();
const csr = createTestCsr({ uris: ['spiffe://example.org/minted'] });

const entryOf = (path: string) => ({ spiffeId: own(path), parentId: own('/x'), selectors: [{ type: 'unix', value: 'uid:1' }] });

/** Makes one entry; its ID, or what its item or the call failed with. */
async function create(system: WholeSystem, path: string): Promise<{ id?: string; code: string; message: string }> {
  let made: { id?: string; code: string; message: string } | undefined;
  const failure = await failureOf(
    system
      .admin(Entry)
      .batchCreateEntry({ entries: [entryOf(path)] })
      .then(({ results }) => {
        const [{ status, entry } = {}] = results;
        made = { code: `${status?.code}`, message: status?.message ?? '', ...(entry && { id: entry.id }) };
      }),
  );
  return made ?? failure;
}

async function mint(system: WholeSystem): Promise<string> {
  const { svid } = await system.admin(SVID).mintX509SVID({ csr });
  return serialOf(svid?.certChain[0] ?? new Uint8Array());
}

describe.skipIf(missing !== undefined)(
  `a disk that is full or read-only${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    test('changes and signatures stop with UNAVAILABLE, nothing acknowledged is lost, and all goes on with space', async () => {
      using disk = mountSmallDisk(8);
      await using system = await WholeSystem.start({ caDataDir: disk.path });
      const acknowledged: string[] = [];
      const serials = [await mint(system)];
      for (let turn = 0; turn < 20; turn += 1) acknowledged.push((await create(system, `/before/${turn}`)).id ?? '');
      disk.fill();

      let refused = await create(system, '/full/0');
      for (let turn = 1; refused.id !== undefined && turn < 2_000; turn += 1) {
        acknowledged.push(refused.id);
        refused = await create(system, `/full/${turn}`);
      }
      expect(refused).toMatchObject({ code: 'unavailable' });
      expect(refused.message).toContain('the disk is full; free some space');

      let signing = await failureOf(mint(system).then((serial) => serials.push(serial)));
      for (let turn = 0; signing.code === 'ok' && turn < 2_000; turn += 1)
        signing = await failureOf(mint(system).then((serial) => serials.push(serial)));
      expect(signing).toMatchObject({ code: 'unavailable' });
      expect(signing.message).toContain('audit log');
      const unready = await system.readiness();
      expect(unready.status).toBe(503);
      expect(unready.text).toMatch(/audit log .*ENOSPC/);
      // Reading goes on, and so do workloads.
      expect((await system.admin(Entry).countEntries({})).count).toBeGreaterThan(20);
      expect((await fetchX509(system.workloadSocket)).svids).toHaveLength(1);

      disk.free();
      await expect
        .poll(() => failureOf(mint(system).then((serial) => serials.push(serial))), { timeout: 10_000 })
        .toMatchObject({ code: 'ok' });
      await expect.poll(async () => (await system.readiness()).status).toBe(200);
      const after = await create(system, '/after');
      expect(after.id).toBeDefined();
      await system.ca.kill();
      await system.spawnCa().logged('"ca serves"');
      const { entries } = await system.admin(Entry).listEntries({});
      const present = new Set(entries.map(({ id }) => id));
      expect([...acknowledged, after.id ?? ''].filter((id) => !present.has(id))).toEqual([]);
      const audited = new Set(auditedSerials(disk.path));
      expect(serials.filter((serial) => !audited.has(serial))).toEqual([]);
      console.log(`${acknowledged.length} entries and ${serials.length} certificates around a full disk, none lost`);
    });

    test('a CA that starts on a full or read-only disk says so and ends, and starts once that is mended', async () => {
      using disk = mountSmallDisk(4);
      await using system = await WholeSystem.startCa({ caDataDir: disk.path });
      const { id } = await create(system, '/kept');
      await system.ca.kill();
      disk.fill();
      const full = system.spawnCa();
      const started = await Promise.race([
        full.ended(),
        full
          .logged('"ca serves"')
          .then(() => 'serves')
          .catch(() => full.ended()),
      ]);
      console.log(`a CA on a full disk: ${String(started)}: ${full.lines.at(-1)?.slice(0, 300)}`);
      expect(started === 'serves' || /full|space/.test(full.log)).toBe(true);
      await full.kill();
      disk.free();
      await system.spawnCa().logged('"ca serves"');
      expect((await system.admin(Entry).getEntry({ id: id ?? '' })).id).toBe(id);
      await system.ca.kill();
      disk.readOnly();
      const readOnly = system.spawnCa();
      expect(await readOnly.ended()).toBe(1);
      console.log(`a CA on a read-only disk: ${readOnly.lines.at(-1)?.slice(0, 300)}`);
      expect(readOnly.log).toMatch(/read-only|EROFS|permission/);
      expect(readOnly.log).not.toMatch(/PRIVATE KEY/);
    });
  },
);

describe('an audit log that cannot be written', () => {
  test('stops signing with UNAVAILABLE, makes the CA unready, and is written again as soon as it can be', async () => {
    await using system = await WholeSystem.start();
    await mint(system);
    const file = join(system.folder, 'data', 'audit.jsonl');
    renameSync(file, `${file}.away`);
    mkdirSync(file);
    await expect.poll(() => failureOf(mint(system)), { timeout: 5_000 }).toMatchObject({ code: 'unavailable' });
    const { message } = await failureOf(mint(system));
    expect(message).toContain('audit log');
    expect(message).not.toContain(system.folder);
    const { status, text } = await system.readiness();
    expect([status, text]).toEqual([503, expect.stringContaining('EISDIR') as unknown]);
    // What needs no signature goes on, and workloads keep theirs.
    expect((await create(system, '/unsigned')).id).toBeDefined();
    expect((await fetchX509(system.workloadSocket)).svids).toHaveLength(1);
    rmdirSync(file);
    renameSync(`${file}.away`, file);
    await expect.poll(() => system.readiness().then((ready) => ready.status), { timeout: 5_000 }).toBe(200);
    const serial = await mint(system);
    expect(auditedSerials(join(system.folder, 'data'))).toContain(serial);
  });
});
