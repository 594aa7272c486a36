# A Buildroot external tree, beside the sources it builds:
#
#     make BR2_EXTERNAL=/path/to/ws2cgi/board/buildroot menuconfig    # External options: ws2cgi
include $(BR2_EXTERNAL_WS2CGI_PATH)/package/ws2cgi/ws2cgi.mk
