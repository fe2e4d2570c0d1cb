// What came of the proofs after a run, counted.

import type { BackupRun } from '../../api/generated';

export interface ProofSum {
  passed: number;
  failed: number;
  /** Not begun, without a verdict yet, or ended without one. */
  open: number;
  all: number;
}

export function proofSum(run: Pick<BackupRun, 'proofs'>): ProofSum {
  const of = run.proofs ?? [];
  const passed = of.filter(({ proof }) => proof?.answered).length;
  const failed = of.filter(({ proof, message }) => (proof ? !proof.answered : message)).length;
  return { passed, failed, open: of.length - passed - failed, all: of.length };
}

/** As the calendar and the table colour it. */
export function proofTone({ failed, open }: ProofSum): 'done' | 'failed' | 'open' {
  return failed > 0 ? 'failed' : open > 0 ? 'open' : 'done';
}

/** When the last verdict came; before there is one, when the run ended. */
export function provedAt(run: Pick<BackupRun, 'proofs' | 'ended'>): string | null | undefined {
  const verdicts = (run.proofs ?? []).flatMap(({ proof }) => (proof ? [proof.at] : []));
  return verdicts.sort((a, b) => new Date(a).getTime() - new Date(b).getTime()).at(-1) ?? run.ended;
}
