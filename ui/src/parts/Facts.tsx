import { DescriptionList, DescriptionListDescription, DescriptionListGroup, DescriptionListTerm } from '@patternfly/react-core';

export type Fact = [label: string, value: React.ReactNode] | false | undefined | null;

/** Names and values, side by side. What is unknown is a dash. */
export function Facts({ facts, label }: { facts: Fact[]; label?: string }) {
  return (
    <DescriptionList isHorizontal isCompact aria-label={label} horizontalTermWidthModifier={{ default: '12ch', md: '16ch' }}>
      {facts.map(
        (fact) =>
          fact && (
            <DescriptionListGroup key={fact[0]}>
              <DescriptionListTerm>{fact[0]}</DescriptionListTerm>
              <DescriptionListDescription className="x-wrap">{fact[1] === undefined || fact[1] === null || fact[1] === '' ? '—' : fact[1]}</DescriptionListDescription>
            </DescriptionListGroup>
          ),
      )}
    </DescriptionList>
  );
}
