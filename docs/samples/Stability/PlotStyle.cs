using ScottPlot;

namespace TensorNets.Samples.Stability;

/// <summary>What the plots of the samples' pictures have in common. The colours are Okabe and Ito's, distinct for colour-blind eyes
/// too.</summary>
public static class PlotStyle
{
    /// <summary>The size of titles and of the names of axes.</summary>
    public const float LabelSize = 22;

    /// <summary>The size of what stands at ticks.</summary>
    public const float TickSize = 19;

    /// <summary>For what the others are held against.</summary>
    public const string Grey = "#777777";

    /// <summary>Blue.</summary>
    public const string Blue = "#0072B2";

    /// <summary>Bluish green.</summary>
    public const string Green = "#009E73";

    /// <summary>Orange.</summary>
    public const string Orange = "#E69F00";

    /// <summary>Vermilion.</summary>
    public const string Vermilion = "#D55E00";

    /// <summary>Sky blue.</summary>
    public const string SkyBlue = "#56B4E9";

    /// <summary>Reddish purple.</summary>
    public const string Purple = "#CC79A7";

    /// <summary>Black.</summary>
    public const string Black = "#000000";

    /// <summary>The least span of an accuracy axis, in points, so that differences of a few images do not look large.</summary>
    private const double LeastSpan = 10;

    /// <summary>Names what a plot shows and its axes, of which the one at the bottom may go without.</summary>
    public static void Label(Plot plot, string title, string? bottom, string left)
    {
        plot.Title(title, LabelSize);
        if (bottom is not null)
        {
            plot.XLabel(bottom, LabelSize);
        }

        plot.YLabel(left, LabelSize);
        plot.Axes.Bottom.TickLabelStyle.FontSize = TickSize;
        plot.Axes.Left.TickLabelStyle.FontSize = TickSize;
    }

    /// <summary>Gives plots of accuracies in % one vertical axis.</summary>
    public static void ShareAccuracyAxis(params IReadOnlyList<Plot> plots)
    {
        foreach (var plot in plots)
        {
            plot.Axes.AutoScale();
        }

        var top = Math.Min(100, plots.Max(plot => plot.Axes.GetLimits().Top));
        var bottom = Math.Min(top - LeastSpan, plots.Min(plot => plot.Axes.GetLimits().Bottom));
        foreach (var plot in plots)
        {
            plot.Axes.SetLimitsY(Math.Max(0, bottom), top);
        }
    }
}
