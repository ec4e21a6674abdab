"""What attackers tried: each theme from the seat of somebody who wants more than is theirs."""
