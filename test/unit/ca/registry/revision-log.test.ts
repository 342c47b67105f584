import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { RevisionLog } from '../../../../ca/registry/revision-log.ts';

const touch = fc.record({ name: fc.integer({ min: 0, max: 9 }).map(String), later: fc.integer({ min: 0, max: 2 }) });

test('what changed since a revision is found, each name once, also after many changes and after some were forgotten', () => {
  fc.assert(
    fc.property(fc.array(touch, { maxLength: 400 }), fc.nat(400), fc.nat(4), (touches, since, forgotten) => {
      const log = new RevisionLog();
      const revisions = new Map<string, number>();
      const marks = new Map<string, number>();
      let revision = 1;
      for (const { name, later } of touches) {
        revision += later;
        log.touch(name, revision);
        revisions.set(name, revision);
        marks.set(name, log.mark);
      }
      const floor = log.forget((name) => Number(name) < forgotten);
      const gone = [...revisions].filter(([name]) => Number(name) < forgotten);
      expect(floor).toBe(Math.max(0, ...gone.map(([, each]) => each)));
      for (const [name] of gone) revisions.delete(name);
      const found = [...log.since(since)];
      expect(found.toSorted()).toEqual([...revisions.keys()].filter((name) => (revisions.get(name) ?? 0) > since).sort());
      expect(log.size).toBe(revisions.size);
      const sinceMark = [...log.sinceMark(since)].toSorted();
      expect(sinceMark).toEqual([...revisions.keys()].filter((name) => (marks.get(name) ?? 0) > since).sort());
      expect(log.mark).toBe(touches.length);
    }),
  );
});

test('a revision that comes late is taken for the last', () => {
  const log = new RevisionLog();
  log.touch('a', 7);
  log.touch('b', 3);
  expect([...log.since(6)]).toEqual(['a', 'b']);
});
