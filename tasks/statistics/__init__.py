"""What numbers can be said to show: intervals, rankings, comparisons and agreement, of any scores."""
